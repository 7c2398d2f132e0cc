"""What helm rendered, judged: every object against Kubernetes' schemas, and all of them together.

usage: check_objects.py DIRECTORY SCHEMA_VERSION...

DIRECTORY has one NAME.yaml for each rendered case; the configuration in it is written beside it as NAME.toml. Faults are
printed, one a line, and end it with exit code 1. Before that, faults are planted in a case and must be found.
"""

import copy
import pathlib
import sys
import tomllib

import kubernetes_validate
import yaml

# Objects that a chart refers to and does not make; the cases name them so.
EXTERNAL = "external-"
NUMBERED = {"StatefulSet", "Deployment"}


def schema_faults(objects, versions):
    for thing in objects:
        for version in versions:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except Exception as error:  # also of a kind that the version does not have
                where = ".".join(str(part) for part in getattr(error, "path", []))
                yield f"{label(thing)}: Kubernetes {version}: {where}: {error.message}"


def label(thing):
    return f"{thing.get('kind')}/{thing.get('metadata', {}).get('name')}"


class Release:
    """The objects of one case, by kind and name."""

    def __init__(self, objects):
        self.objects = objects
        self.workloads = [thing for thing in objects if thing["kind"] in NUMBERED]
        (self.config,) = [thing for thing in self.of("ConfigMap")]

    def of(self, kind):
        return [thing for thing in self.objects if thing["kind"] == kind]

    def has(self, kind, name):
        made = any(thing["metadata"]["name"] == name for thing in self.of(kind))
        return made or name.startswith(EXTERNAL)

    def selected(self, selector):
        """The workloads whose pods a selector matches."""
        wanted = selector.items()
        return [one for one in self.workloads if wanted <= one["spec"]["template"]["metadata"]["labels"].items()]

    def service(self, name):
        return next((thing for thing in self.of("Service") if thing["metadata"]["name"] == name), None)

    def toml(self):
        return tomllib.loads(self.config["data"]["tapewatch.toml"])


def container(workload):
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return only


def ports(workload):
    return {port["name"]: port["containerPort"] for port in container(workload)["ports"]}


def pod_faults(release):
    """Who a pod runs as, what it may, what it asks for."""
    for workload in release.workloads:
        pod = workload["spec"]["template"]["spec"]
        box = container(workload)
        security = box.get("securityContext", {})
        identity = pod.get("securityContext", {})
        resources = box.get("resources", {})
        rules = {
            "the account's token is mounted": pod.get("automountServiceAccountToken") is False,
            "variables of services would be read as configuration": pod.get("enableServiceLinks") is False,
            "it may run as root": identity.get("runAsNonRoot") is True and identity.get("runAsUser", 0) > 0,
            "no seccomp profile": identity.get("seccompProfile") == {"type": "RuntimeDefault"},
            "the root can be written": security.get("readOnlyRootFilesystem") is True,
            "privileges can grow": security.get("allowPrivilegeEscalation") is False,
            "capabilities are kept": security.get("capabilities") == {"drop": ["ALL"]},
            "no request of CPU and memory": {"cpu", "memory"} <= resources.get("requests", {}).keys(),
            "no limit of memory": "memory" in resources.get("limits", {}),
            "no time to stop in": pod.get("terminationGracePeriodSeconds", 0) >= 30,
            "it uses the host": not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
            and not any("hostPath" in volume for volume in pod["volumes"]),
            "replicas do not keep apart": workload["spec"]["replicas"] == 1 or "topologySpreadConstraints" in pod,
        }
        for probe, path in {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}.items():
            asked = box.get(f"{probe}Probe", {}).get("httpGet", {})
            rules[f"no {probe} probe that asks {path}"] = asked.get("path") == path and asked.get("port") in ports(workload)
        yield from (f"{label(workload)}: {fault}" for fault, holds in rules.items() if not holds)


def volume_faults(release):
    """Every mount has a volume, every volume a mount, and every claim, file and secret is there."""
    for workload in release.workloads:
        pod = workload["spec"]["template"]["spec"]
        claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
        volumes = [volume["name"] for volume in pod["volumes"]] + claims
        mounts = [mount["name"] for mount in container(workload)["volumeMounts"]]
        if sorted(volumes) != sorted(mounts):
            yield f"{label(workload)}: volumes {sorted(volumes)}, but mounts {sorted(mounts)}"
        named = [("ServiceAccount", pod["serviceAccountName"])]
        for volume in pod["volumes"]:
            named += [("ConfigMap", volume["configMap"]["name"])] if "configMap" in volume else []
            named += [("Secret", volume["secret"]["secretName"])] if "secret" in volume else []
            claim = volume.get("persistentVolumeClaim")
            named += [("PersistentVolumeClaim", claim["claimName"])] if claim else []
        yield from (f"{label(workload)}: there is no {kind} {name}" for kind, name in named if not release.has(kind, name))
    yield from (f"{label(secret)}: a secret is only referred to" for secret in release.of("Secret"))


def selector_faults(release):
    """Services, budgets and policies mean one workload each, and no workload is forgotten."""
    for service in release.of("Service"):
        found = release.selected(service["spec"]["selector"])
        if len(found) != 1:
            yield f"{label(service)}: it selects {len(found)} workloads"
            continue
        for port in service["spec"]["ports"]:
            if ports(found[0]).get(port["targetPort"]) != port["port"]:
                yield f"{label(service)}: {label(found[0])} has no port {port['targetPort']} {port['port']}"
    for kind, needs in {
        "PodDisruptionBudget": lambda workload: workload["spec"]["replicas"] > 1,
        "NetworkPolicy": lambda workload: bool(release.of("NetworkPolicy")),
    }.items():
        key = "podSelector" if kind == "NetworkPolicy" else "selector"
        means = [release.selected(thing["spec"][key]["matchLabels"]) for thing in release.of(kind)]
        wanted = [[workload] for workload in release.workloads if needs(workload)]
        if sorted(map(str, means)) != sorted(map(str, wanted)):
            yield f"{kind}: for {[[label(one) for one in some] for some in means]}"
    for workload in release.workloads:
        name = workload["spec"].get("serviceName")
        service = release.service(name)
        if workload["kind"] == "StatefulSet" and (not service or service["spec"].get("clusterIP") != "None"):
            yield f"{label(workload)}: there is no headless service {name}"
    for ingress in release.of("Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        service = release.service(backend["name"])
        if not service or backend["port"]["name"] not in [port["name"] for port in service["spec"]["ports"]]:
            yield f"{label(ingress)}: there is no service {backend}"


def role_faults(release):
    """Each role runs once, and who is named as a peer is there and opens that port."""
    roles = [role for workload in release.workloads for role in container(workload)["args"][-1].split(",")]
    if sorted(roles) not in (["all"], ["engine", "gateway", "history", "journal", "recent"]):
        yield f"the roles are {roles}"
    for workload in release.workloads:
        shares = [variable["value"] for variable in container(workload).get("env", []) if "SHARE" in variable["name"]]
        wanted = [f"$(POD_INDEX)/{workload['spec']['replicas']}"] if "engine" in ports(workload) else []
        if shares != wanted and roles != ["all"]:
            yield f"{label(workload)}: shares {shares}"
    config = release.toml()
    counts = {"journal": 0, "engine": 0, "recent": 0}
    for role, said in config.get("peers", {}).items():
        for address in [said] if isinstance(said, str) else said:
            # The history's is one name for all replicas.
            counts[role] = counts.get(role, 0) + 1
            if not reached(release, role, address):
                yield f"peers.{role}: nobody is at {address}"
    counts.pop("history", None)
    for role, count in counts.items():
        replicas = [one["spec"]["replicas"] for one in release.workloads if role in ports(one)]
        if roles != ["all"] and replicas != [count]:
            yield f"peers.{role} has {count} addresses for {replicas} replicas"
    for workload in release.workloads:
        for role, port in ports(workload).items():
            listen = config["listen"] if role == "gateway" else config[role]["listen"]
            if not listen.endswith(f":{port}"):
                yield f"{label(workload)}: port {port} of {role}, but it listens on {listen}"


def reached(release, role, address):
    host, port = address.rsplit(":", 1)
    *pod, name, _namespace, _svc = host.split(".")
    service = release.service(name)
    if not service or service["spec"]["ports"][0] != {"name": role, "port": int(port), "targetPort": role}:
        return False
    found = release.selected(service["spec"]["selector"])
    if len(found) != 1:
        return False
    workload = found[0]
    replicas = [f"{workload['metadata']['name']}-{ordinal}" for ordinal in range(workload["spec"]["replicas"])]
    return not pod or (workload["spec"].get("serviceName") == name and pod[0] in replicas)


def faults(objects, versions):
    """What is wrong with a case; the rest is only asked of objects that have Kubernetes' form."""
    malformed = list(schema_faults(objects, versions))
    yield from malformed
    if malformed:
        return
    release = Release(objects)
    for check in (pod_faults, volume_faults, selector_faults, role_faults):
        yield from check(release)


def first(objects, kind):
    return next(thing for thing in objects if thing["kind"] == kind)


def pod_of(objects):
    return first(objects, "StatefulSet")["spec"]["template"]["spec"]


# What is done to the objects of a good case, and what must be said of it.
PLANTED = [
    (lambda objects: first(objects, "Service")["spec"].update(port=1), "port"),
    (lambda objects: first(objects, "StatefulSet")["spec"].update(replicas="two"), "is not of type"),
    (lambda objects: pod_of(objects).pop("enableServiceLinks"), "variables of services"),
    (lambda objects: pod_of(objects)["securityContext"].update(runAsUser=0), "may run as root"),
    (lambda objects: pod_of(objects)["containers"][0].pop("livenessProbe"), "no liveness probe"),
    (lambda objects: pod_of(objects)["containers"][0]["resources"].pop("limits"), "no limit of memory"),
    (lambda objects: pod_of(objects)["containers"][0]["securityContext"].pop("capabilities"), "capabilities are kept"),
    (lambda objects: pod_of(objects)["volumes"].append({"name": "x", "emptyDir": {}}), "but mounts"),
    (lambda objects: pod_of(objects).update(serviceAccountName="nobody"), "no ServiceAccount nobody"),
    (lambda objects: first(objects, "Service")["spec"]["selector"].update(x="y"), "selects 0 workloads"),
    (lambda objects: objects.remove(first(objects, "NetworkPolicy")), "NetworkPolicy: for"),
    (lambda objects: objects.remove(first(objects, "PodDisruptionBudget")), "PodDisruptionBudget: for"),
    (lambda objects: first(objects, "StatefulSet")["spec"].update(serviceName="x"), "no headless service x"),
    (lambda objects: change_config(objects, "-journal-0.", "-journal-7."), "nobody is at"),
    (lambda objects: change_config(objects, ":5015", ":5016"), "it listens on"),
    (lambda objects: objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}), "only referred to"),
]


def change_config(objects, old, new):
    config = first(objects, "ConfigMap")["data"]
    assert old in config["tapewatch.toml"]
    config["tapewatch.toml"] = config["tapewatch.toml"].replace(old, new)


def overlooked(objects, versions):
    """The planted faults that are not found."""
    for plant, words in PLANTED:
        changed = copy.deepcopy(objects)
        plant(changed)
        found = list(faults(changed, versions))
        if not any(words in fault for fault in found):
            yield f"a planted fault was overlooked: `{words}` is not in {found}"


def main():
    directory, versions = pathlib.Path(sys.argv[1]), sys.argv[2:]
    found, count, planted = [], 0, None
    for path in sorted(directory.glob("*.yaml")):
        objects = [thing for thing in yaml.safe_load_all(path.read_text()) if thing]
        count += len(objects)
        found += [f"{path.stem}: {fault}" for fault in faults(objects, versions)]
        path.with_suffix(".toml").write_text(Release(objects).config["data"]["tapewatch.toml"])
        if any(thing["kind"] == "PodDisruptionBudget" for thing in objects) and Release(objects).of("NetworkPolicy"):
            planted = objects
    if not planted:
        found.append("no case has budgets and policies to plant faults in")
    elif not found:
        found += overlooked(planted, versions[-1:])
    print("\n".join(found) if found else f"{count} objects are right, {len(PLANTED)} planted faults were found")
    sys.exit(bool(found))


main()
