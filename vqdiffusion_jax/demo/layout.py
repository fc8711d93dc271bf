"""The layout of the page: two columns, or on a phone one, in which what is drawn comes right after the button."""

from __future__ import annotations

NARROW = 899  # pixels: at most so wide, the page has one column
CSS = f"""
.layout {{ display: grid; gap: 1rem 2rem; grid-template-columns: minmax(0, 1fr); width: 100%; }}
.layout .beside {{ display: contents; }}
.layout .asking {{ order: 1; }}
.layout .seen {{ order: 2; }}
.layout .settings {{ order: 3; }}
.layout .starts {{ order: 4; }}
.layout .drawn {{ order: 5; }}
@media (min-width: {NARROW + 1}px) {{
    .layout {{ grid-template: auto 1fr / 20rem minmax(0, 1fr); gap: 0.5rem 2rem; }}
    .layout .asking {{ grid-area: 1 / 1; }}
    .layout .settings {{ grid-area: 2 / 1; }}
    .layout .beside {{ display: flex; flex-direction: column; gap: 1rem; grid-area: 1 / 2 / 3 / 3; min-width: 0; }}
}}
.layout > *, .layout .beside > * {{ min-width: 0; width: 100%; }}
.jobs {{ display: flex; flex-wrap: wrap; gap: 2rem; width: 100%; }}
.jobs .job {{ flex: 1 1 18rem; min-width: 0; }}
.pairs {{ display: flex; flex-wrap: wrap; gap: 1rem; width: 100%; }}
.pairs .pair {{ display: flex; gap: 0.25rem; min-width: 0; }}
.pairs .pair > * {{ flex: 1 1 0; min-width: 0; }}
.editor {{ display: flex; flex-wrap: wrap; gap: 1.5rem; width: 100%; }}
.editor > * {{ flex: 0 1 20rem; min-width: 0; }}
.mask-editor {{ flex: 0 1 18rem; touch-action: none; user-select: none; -webkit-user-select: none; }}
"""
# To the pictures, once they are drawn below what is on the screen; the keyboard of a phone gives way.
SHOW_PICTURES = f"""
if (matchMedia("(max-width: {NARROW}px)").matches) {{
    document.activeElement?.blur();
    document.querySelector(".seen").scrollIntoView({{block: "nearest"}});
}}
"""
