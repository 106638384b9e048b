"""What runs beside the host: a warden, which forks keepers, each of which keeps one session.

These are processes of their own, with one thread, the standard library, and the pure floor. Read
`keep` first: it says what a keeper does.
"""
