"""Places outside of this machine's disks: buckets and whatever else fsspec opens, by address ``scheme://...``.

``addresses`` tells an address from a path and refuses one that cannot be served.  ``copies`` brings a file or folder
here to be read.  ``folders`` lets a folder be written here and puts its files there.  A local path passes all of them
unchanged, and costs nothing.

``scratch`` is where copies lie, ``transfer`` moves objects, by calls that ``tries`` makes again after failures that
pass, and lists them, of which ``listing`` counts the names.  ``stored_folder`` is the copy that is written to,
``seals`` the files that make parts of it count, ``mark`` who owns it, ``pushes`` what is put while work goes on.
"""
