"""ptykill inside other programs: each module here is for one of them, and needs its extra."""
