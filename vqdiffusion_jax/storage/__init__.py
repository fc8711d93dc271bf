"""Places outside of this machine's disks: buckets and whatever else fsspec opens, by address ``scheme://...``.

``addresses`` tells an address from a path and refuses one that cannot be served.  ``copies`` brings a file or folder
here to be read.  ``folders`` lets a folder be written here and puts its files there.  A local path passes all of them
unchanged, and costs nothing.
"""
