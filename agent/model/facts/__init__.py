"""Facts: records that one reader fills and the model holds as they are. A module is named after the reader of its source.

A field that another source adds has None until the join replaces it; its record says so.
"""
