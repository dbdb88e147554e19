"""What firmware says the machine is: /sys/class/dmi/id (SMBIOS types 0-3). Serial numbers are left alone: they identify a unit."""

from __future__ import annotations

from agent.model.facts.dmi import Dmi
from collectors.root import SysRoot, Unavailable

DMI = "sys/class/dmi/id"


def read(root: SysRoot) -> Dmi:
    # sys/class/dmi/id is a link to the device; both lie below the root.
    dmi = Dmi(**{name: (root.text(f"{DMI}/{name}") or "").strip() or None for name in Dmi.__struct_fields__})
    if dmi == Dmi():
        raise Unavailable("absent", DMI, "firmware without SMBIOS (microVMs, most ARM boards): nothing to do")
    return dmi
