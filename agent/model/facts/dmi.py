"""What firmware says the machine is: /sys/class/dmi/id."""

from __future__ import annotations

from agent.model.values import Fact


class Dmi(Fact, frozen=True, kw_only=True):
    """What firmware says the machine is (SMBIOS types 0 to 3), without what identifies the unit."""

    sys_vendor: str | None = None
    product_name: str | None = None
    product_version: str | None = None
    board_vendor: str | None = None
    board_name: str | None = None
    bios_vendor: str | None = None
    bios_version: str | None = None
    chassis_type: str | None = None
