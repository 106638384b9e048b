"""What the kernel is asked, by the host and by its keepers: with the standard library alone.

Nothing here knows trio, psutil or a plan, so that a bare interpreter can import it in no time.
"""
