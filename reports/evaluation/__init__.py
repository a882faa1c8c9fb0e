"""How far answers agree with the labels that people gave: gathered clip by clip, shown as tables, a CSV and a page."""
