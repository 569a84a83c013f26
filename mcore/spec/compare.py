"""`compare`: the variants of a spec, each a few keys away from it."""

from typing import Any

from mcore.spec.dump import plain_spec
from mcore.spec.overrides import NoSuchPlace, assign, parse_path
from mcore.spec.schema import Finding, KeyPath, Spec
from mcore.spec.validate import Checked, validate


def variants(spec: Spec) -> dict[str, Spec]:
    """The specs that `compare` names, in its order; each is complete and compares nothing itself.

    Raises: ValidationError only for a Spec that `load_spec` did not check.
    """
    return {
        name: Spec.model_validate(_changed(spec, changes)) for name, changes in spec.compare.items()
    }


def compare_findings(checked: Checked, environment: bool) -> list[Finding]:
    """What is wrong with the variants of a spec, but not with the spec itself."""
    if checked.spec is None:
        return []
    found = []
    for name, changes in checked.spec.compare.items():
        place = ("compare", name)
        nested = [dotted for dotted in changes if dotted.split(".")[0] == "compare"]
        found += [Finding((*place, key), "variants do not compare; drop it") for key in nested]
        others = {dotted: value for dotted, value in changes.items() if dotted not in nested}
        wrong = _variant_findings(checked.spec, others, environment)
        ours = [finding for finding in wrong if not (finding.needs and checked.touches(finding))]
        found += [_told(finding, place, changes) for finding in ours]
    return found


def _variant_findings(spec: Spec, changes: dict[str, Any], environment: bool) -> list[Finding]:
    try:
        return validate(_changed(spec, changes), environment).findings
    except NoSuchPlace as error:
        return [error.finding]


def _told(finding: Finding, place: KeyPath, changes: dict[str, Any]) -> Finding:
    """A finding of a variant as the base spec's reader sees it: below compare, at the change."""
    ours = [dotted for dotted in changes if _overlap(dotted, finding)]
    return Finding(place + finding.path, finding.message, tuple((*place, key) for key in ours))


def _overlap(dotted: str, finding: Finding) -> bool:
    changed = dotted.split(".")
    for path in (finding.path, *finding.needs):
        words = [str(key) for key in path]
        if words[: len(changed)] == changed or changed[: len(words)] == words:
            return True
    return False


def _changed(spec: Spec, changes: dict[str, Any]) -> dict[str, Any]:
    data = plain_spec(spec)
    data["compare"] = {}
    for dotted, value in changes.items():
        data = assign(data, parse_path(dotted, data), value)
    return data
