"""Python's kr8s against an API server: objects, patches, watches, waiting, kinds made at run time.

Usage: kr8s_story.py [NAMESPACE]. Takes the server and the credentials from KUBECONFIG. Prints one
line for each thing that went as it must.
"""

import asyncio
import sys

import kr8s
import kr8s.asyncio
from kr8s.asyncio.objects import new_class as new_async_class
from kr8s.objects import ConfigMap, Deployment, Namespace, Pod, Service, object_from_spec

SPACE = sys.argv[1] if len(sys.argv) > 1 else "kr8s"
GROUP = "kr8s.example.com"


def done(what):
    print("ok", what, flush=True)


def server():
    api = kr8s.api()
    assert api.version()["minor"].startswith("36"), api.version()
    assert api.whoami() == "admin", api.whoami()
    resources = {resource["name"] for resource in api.api_resources()}
    assert {"pods", "deployments", "leases", "customresourcedefinitions"} <= resources, resources
    assert "apps/v1" in list(api.api_versions())
    assert api.lookup_kind("deploy")[1] == "deployments", api.lookup_kind("deploy")
    done("server")


def objects():
    Namespace({"metadata": {"name": SPACE}}).create()
    for number in range(3):
        named = {"name": f"map-{number}", "namespace": SPACE, "labels": {"app": "story"}}
        ConfigMap({"metadata": named, "data": {"number": str(number)}}).create()
    listed = [one.name for one in kr8s.get("configmaps", namespace=SPACE, label_selector={"app": "story"})]
    assert listed == ["map-0", "map-1", "map-2"], listed
    one = next(kr8s.get("cm", "map-1", namespace=SPACE))
    assert one.data.number == "1" and one.exists(), one.raw
    one.label(size="small")
    one.annotate({"note": "here"})
    one.patch({"data": {"number": "one"}})
    one.patch([{"op": "add", "path": "/data/more", "value": "x"}], type="json")
    one.refresh()
    assert one.labels.size == "small" and one.annotations.note == "here", one.raw
    assert one.data.to_dict() == {"number": "one", "more": "x"}, one.raw
    one.remove_label("size")
    child = ConfigMap({"metadata": {"name": "child", "namespace": SPACE}})
    child.create()
    one.adopt(child)
    child.refresh()
    assert child.metadata.ownerReferences[0].uid == one.metadata.uid, child.raw
    one.delete()
    assert not one.exists()
    try:
        ConfigMap.get("map-1", namespace=SPACE, timeout=1)
    except kr8s.NotFoundError:
        done("objects")
    else:
        raise AssertionError("it is still there")


def workloads():
    labels = {"app": "web"}
    pod = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    web = Deployment({"metadata": {"name": "web", "namespace": SPACE}, "spec": spec})
    web.create()
    assert web.replicas == 1
    web.patch({"spec": {"replicas": 3}}, subresource="scale")
    web.refresh()
    assert web.replicas == 3, web.raw
    condition = {"type": "Available", "status": "True", "reason": "r", "message": "m"}
    web.patch({"status": {"conditions": [condition]}}, subresource="status")
    web.wait("condition=Available", timeout=10)
    service = {"selector": labels, "ports": [{"port": 80, "name": "http"}]}
    web_service = Service({"metadata": {"name": "web", "namespace": SPACE}, "spec": service})
    web_service.create()
    assert web_service.spec.clusterIP.startswith("10.96."), web_service.raw
    assert web_service.ready_pods() == []
    alone = Pod.gen(name="alone", namespace=SPACE, image="i", ports=[80])
    alone.metadata["annotations"] = {"a": "b"}
    alone.spec["automountServiceAccountToken"] = False
    object_from_spec({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": SPACE}}).create()
    alone.spec["serviceAccountName"] = "robot"
    alone.create()
    assert alone.status.phase == "Pending" and not alone.ready(), alone.raw
    alone.delete(force=True)
    alone.wait("delete", timeout=10)
    done("workloads")


async def watches():
    """Somebody watches while others write, all in one loop."""
    seen = []
    space = {"namespace": SPACE, "label_selector": {"watched": "yes"}}

    async def follow():
        async for event, one in kr8s.asyncio.watch("configmaps", **space):
            seen.append((event, one.name))
            if event == "DELETED":
                return

    following = asyncio.create_task(follow())
    named = {"name": "seen", "namespace": SPACE, "labels": {"watched": "yes"}}
    one = await kr8s.asyncio.objects.ConfigMap({"metadata": named})
    await one.create()
    while ("ADDED", "seen") not in seen:
        await asyncio.sleep(0.02)
    await one.patch({"data": {"a": "b"}})
    await one.delete()
    await asyncio.wait_for(following, 20)
    assert seen == [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "seen")], seen
    done("watches")


async def custom_kinds():
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "tins", "singular": "tin", "kind": "Tin", "shortNames": ["tn"]}
    definition = await kr8s.asyncio.objects.object_from_spec({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"tins.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }, allow_unknown_type=True)
    await definition.create()
    # Until somebody has set them the conditions are null, on every server, and kr8s cannot wait then.
    while not definition.status.conditions:
        await definition.refresh()
    await definition.wait("condition=Established", timeout=10)
    Tin = new_async_class(kind="Tin", version=f"{GROUP}/v1", namespaced=True)
    tin = await Tin({"metadata": {"name": "one", "namespace": SPACE}, "spec": {"size": 1}})
    await tin.create()
    await tin.patch({"spec": {"size": 2}})
    await tin.refresh()
    assert tin.spec.size == 2 and tin.metadata.generation == 2, tin.raw
    found = [one.name async for one in Tin.list(namespace=SPACE)]
    assert found == ["one"], found
    await tin.delete()
    await definition.delete()
    done("custom kinds")


def end():
    space = Namespace.get(SPACE)
    space.delete()
    space.refresh()
    assert space.status.phase == "Terminating", space.raw
    done("end")


def main():
    server()
    objects()
    workloads()
    asyncio.run(watches())
    asyncio.run(custom_kinds())
    end()


main()
