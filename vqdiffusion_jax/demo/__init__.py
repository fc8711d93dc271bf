"""The page of ``--mode=demo``: a form becomes jobs, jobs are drawn step by step.

``page``, ``mask_editor``, ``job_view``, ``widgets``, ``messages`` and ``server`` alone know NiceGUI; all else works
without a browser.  Of these ``server`` alone listens; ``guard`` stands before it.
"""
