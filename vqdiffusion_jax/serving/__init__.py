"""The HTTP API of ``--mode=serve``: requests in OpenAI's shape become pictures, drawn together where they can be.

``routes``, ``guard``, ``application`` and ``server`` alone know HTTP; ``asked`` and ``edits`` read what is asked,
``batches`` queues it, ``drawing`` draws.
"""
