"""The page of ``--mode=demo``: a form becomes jobs, jobs are drawn step by step.

``page``, ``mask_editor``, ``job_view`` and ``widgets`` alone know NiceGUI; all else works without a browser.
"""
