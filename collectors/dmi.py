"""What firmware says the machine is: /sys/class/dmi/id (SMBIOS types 0-3). Serial numbers are left alone: they identify a unit."""

from __future__ import annotations

from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable

DMI = "sys/class/dmi/id"


class Dmi(Fact, frozen=True, kw_only=True):
    sys_vendor: str | None = None
    product_name: str | None = None
    product_version: str | None = None
    board_vendor: str | None = None
    board_name: str | None = None
    bios_vendor: str | None = None
    bios_version: str | None = None
    chassis_type: str | None = None


def read(root: SysRoot) -> Dmi:
    # sys/class/dmi/id is a link to the device; both lie below the root.
    found = Dmi(**{name: (root.text(f"{DMI}/{name}") or "").strip() or None for name in Dmi.__struct_fields__})
    if found == Dmi():
        raise Unavailable("absent", DMI, "firmware without SMBIOS (microVMs, most ARM boards): nothing to do")
    return found
