"""Probes: what a picture's own pixels and header say about it, without any network weights.

Place in the flow: below `measure`, which calls each of them once on a decoded picture. The law they keep: a
probe is a pure function of arrays, gives a float (NaN where the question has no answer for this picture),
and never decides; limits live in `rules`. Each module states definition, unit, source and blind spots.
"""
