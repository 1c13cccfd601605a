"""Python's kubernetes, the official client, against an API server: objects, patches, watches, kinds.

Usage: kubernetes_story.py [NAMESPACE]. Takes the server and the credentials from KUBECONFIG. Prints one line for each thing that went as it
must.
"""

import json
import sys
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException

SPACE = sys.argv[1] if len(sys.argv) > 1 else "python"
LABELS = {"app": "story"}


def done(what):
    print("ok", what, flush=True)


def refused(status, reason, call, *arguments, **named):
    """Whoever calls is told so, in a Status."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        body = json.loads(error.body)
        assert (error.status, body["reason"]) == (status, reason), body
        assert body["kind"] == "Status" and body["code"] == status, body
        return body
    raise AssertionError(f"{reason} was expected")


def meta(name, **more):
    return client.V1ObjectMeta(name=name, **more)


def objects(core):
    core.create_namespace(client.V1Namespace(metadata=meta(SPACE)))
    for number in range(5):
        body = client.V1ConfigMap(
            metadata=meta(f"map-{number}", labels={**LABELS, "even": str(number % 2 == 0)}),
            data={"number": str(number)},
            binary_data={"bytes": "AAEC"},
        )
        made = core.create_namespaced_config_map(SPACE, body)
        assert made.metadata.uid and made.metadata.resource_version, made
        assert made.metadata.managed_fields[0].operation == "Update", made
    even = core.list_namespaced_config_map(SPACE, label_selector="app=story,even=True")
    assert [item.metadata.name for item in even.items] == ["map-0", "map-2", "map-4"]
    one = core.list_config_map_for_all_namespaces(field_selector="metadata.name=map-3")
    assert [item.data["number"] for item in one.items] == ["3"]
    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(SPACE, limit=2, _continue=token, label_selector="app")
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
    assert names == [f"map-{number}" for number in range(5)], names
    refused(409, "AlreadyExists", core.create_namespaced_config_map, SPACE, body)
    refused(404, "NotFound", core.read_namespaced_config_map, "none", SPACE)
    body.metadata.name = "Not A Name"
    wrong = refused(422, "Invalid", core.create_namespaced_config_map, SPACE, body)
    assert wrong["details"]["causes"][0]["field"] == "metadata.name", wrong
    held = core.read_namespaced_config_map("map-0", SPACE)
    held.data["number"] = "zero"
    core.replace_namespaced_config_map("map-0", SPACE, held)
    held.data["number"] = "nought"
    refused(409, "Conflict", core.replace_namespaced_config_map, "map-0", SPACE, held)
    tried = core.delete_namespaced_config_map("map-1", SPACE, dry_run="All")
    assert tried.status == "Success" and core.read_namespaced_config_map("map-1", SPACE)
    other = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
    refused(409, "Conflict", core.delete_namespaced_config_map, "map-1", SPACE, body=other)
    core.delete_namespaced_config_map("map-1", SPACE)
    core.delete_collection_namespaced_config_map(SPACE, label_selector="even=False")
    left = core.list_namespaced_config_map(SPACE, label_selector="app=story")
    assert [item.metadata.name for item in left.items] == ["map-0", "map-2", "map-4"]
    done("objects")


def patches(core):
    patched = core.patch_namespaced_config_map("map-0", SPACE, {"data": {"number": None, "a": "b"}})
    assert patched.data == {"a": "b"}, patched.data
    steps = [{"op": "test", "path": "/data/a", "value": "b"}, {"op": "add", "path": "/data/c", "value": "d"}]
    patched = core.patch_namespaced_config_map("map-0", SPACE, steps)
    assert patched.data == {"a": "b", "c": "d"}, patched.data
    steps[0]["value"] = "else"
    refused(422, "Invalid", core.patch_namespaced_config_map, "map-0", SPACE, steps)
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map-0"}, "data": {"a": "mine"}}
    apply = {"_content_type": "application/apply-patch+yaml", "field_manager": "story"}
    other = refused(409, "Conflict", core.patch_namespaced_config_map, "map-0", SPACE, mine, **apply)
    assert other["details"]["causes"][0]["field"] == ".data.a", other
    taken = core.patch_namespaced_config_map("map-0", SPACE, mine, force=True, **apply)
    owners = {field.manager: field.operation for field in taken.metadata.managed_fields}
    assert taken.data["a"] == "mine" and owners["story"] == "Apply", owners
    merge = {"_content_type": "application/merge-patch+json"}
    patched = core.patch_namespaced_config_map("map-0", SPACE, {"data": None}, **merge)
    assert patched.data is None, patched.data
    done("patches")


def watches(core):
    listed = core.list_namespaced_config_map(SPACE)
    seen = []

    def follow():
        stream = watch.Watch().stream(
            core.list_namespaced_config_map,
            SPACE,
            resource_version=listed.metadata.resource_version,
            allow_watch_bookmarks=True,
            timeout_seconds=20,
        )
        for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                break

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    core.create_namespaced_config_map(SPACE, client.V1ConfigMap(metadata=meta("seen")))
    core.patch_namespaced_config_map("seen", SPACE, {"data": {"a": "b"}})
    core.delete_namespaced_config_map("seen", SPACE)
    reader.join(30)
    seen = [event for event in seen if event[0] != "BOOKMARK"]
    assert seen == [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "seen")], seen
    first = watch.Watch().stream(core.list_namespace, field_selector=f"metadata.name={SPACE}", timeout_seconds=5)
    assert next(first)["object"].metadata.name == SPACE
    done("watches")


def workloads(api, core):
    apps = client.AppsV1Api(api)
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template}
    made = apps.create_namespaced_deployment(SPACE, {"metadata": {"name": "web"}, "spec": spec})
    assert made.spec.strategy.rolling_update.max_surge == "25%", made.spec.strategy
    scale = apps.read_namespaced_deployment_scale("web", SPACE)
    assert (scale.spec.replicas, scale.status.selector) == (2, "app=story"), scale
    apps.patch_namespaced_deployment_scale("web", SPACE, {"spec": {"replicas": 5}})
    assert apps.read_namespaced_deployment("web", SPACE).spec.replicas == 5
    more = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}}
    patched = apps.patch_namespaced_deployment("web", SPACE, more)
    assert [one.name for one in patched.spec.template.spec.containers] == ["side", "c"], patched
    status = {"status": {"replicas": 5, "readyReplicas": 3}}
    assert apps.patch_namespaced_deployment_status("web", SPACE, status).status.ready_replicas == 3
    core.create_namespaced_service_account(SPACE, client.V1ServiceAccount(metadata=meta("robot")))
    pod = {"metadata": {"name": "pod"}, "spec": {"serviceAccountName": "robot", "containers": [container]}}
    pod = core.create_namespaced_pod(SPACE, pod)
    assert pod.spec.volumes[0].projected.sources[0].service_account_token.path == "token", pod.spec
    target = client.V1Binding(metadata=meta("pod"), target=client.V1ObjectReference(kind="Node", name="none"))
    core.create_namespaced_pod_binding("pod", SPACE, target, _preload_content=False)
    assert core.read_namespaced_pod("pod", SPACE).spec.node_name == "none"
    core.create_namespaced_pod_eviction("pod", SPACE, client.V1Eviction(metadata=meta("pod")))
    core.delete_namespaced_pod("pod", SPACE, grace_period_seconds=0)
    refused(404, "NotFound", core.read_namespaced_pod, "pod", SPACE)
    service = {"metadata": {"name": "web"}, "spec": {"selector": LABELS, "type": "NodePort", "ports": [{"port": 80}]}}
    service = core.create_namespaced_service(SPACE, service)
    assert service.spec.cluster_ip.startswith("10.96.") and service.spec.ports[0].node_port >= 30000
    done("workloads")


def access(api, core):
    token = core.create_namespaced_service_account_token(
        "robot", SPACE, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    )
    limited = client.Configuration.get_default_copy()
    limited.api_key = {"BearerToken": f"Bearer {token.status.token}"}
    limited.refresh_api_key_hook = None
    robot = client.ApiClient(limited)
    who = client.AuthenticationV1Api(robot).create_self_subject_review({})
    assert who.status.user_info.username == f"system:serviceaccount:{SPACE}:robot", who
    denied = refused(403, "Forbidden", client.CoreV1Api(robot).list_namespaced_secret, SPACE)
    assert "cannot list resource \"secrets\"" in denied["message"], denied
    rbac = client.RbacAuthorizationV1Api(api)
    rule = client.V1PolicyRule(api_groups=[""], resources=["secrets"], verbs=["list"])
    rbac.create_namespaced_role(SPACE, client.V1Role(metadata=meta("reader"), rules=[rule]))
    subject = client.RbacV1Subject(kind="ServiceAccount", name="robot", namespace=SPACE)
    role = client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="reader")
    binding = client.V1RoleBinding(metadata=meta("reader"), role_ref=role, subjects=[subject])
    rbac.create_namespaced_role_binding(SPACE, binding)
    deadline = time.monotonic() + 10
    while True:
        attributes = client.V1ResourceAttributes(namespace=SPACE, verb="list", resource="secrets")
        spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        review = client.V1SelfSubjectAccessReview(spec=spec)
        answer = client.AuthorizationV1Api(robot).create_self_subject_access_review(review)
        if answer.status.allowed or time.monotonic() > deadline:
            break
    assert answer.status.allowed, answer
    assert client.CoreV1Api(robot).list_namespaced_secret(SPACE).items == []
    done("access")


def definition():
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "default": "red"},
                },
            },
            "status": {"type": "object", "properties": {"seen": {"type": "integer"}}},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": "boxes", "singular": "box", "kind": "Box", "listKind": "BoxList"}
    spec = {"group": "python.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "boxes.python.example.com"}, "spec": spec}


def custom_kinds(api):
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(definition())
    selector = "metadata.name=boxes.python.example.com"
    for event in watch.Watch().stream(
        extensions.list_custom_resource_definition, field_selector=selector, timeout_seconds=20
    ):
        conditions = event["object"].status.conditions or []
        if any(one.type == "Established" and one.status == "True" for one in conditions):
            break
    custom = client.CustomObjectsApi(api)
    place = ("python.example.com", "v1", SPACE, "boxes")
    kind = {"apiVersion": "python.example.com/v1", "kind": "Box"}
    made = custom.create_namespaced_custom_object(
        *place, {**kind, "metadata": {"name": "one"}, "spec": {"size": 1}}
    )
    assert made["spec"] == {"size": 1, "colour": "red"}, made
    wrong = {**kind, "metadata": {"name": "two"}, "spec": {"size": 0}}
    refused(422, "Invalid", custom.create_namespaced_custom_object, *place, wrong)
    patched = custom.patch_namespaced_custom_object(*place, "one", {"spec": {"size": 2}})
    assert patched["metadata"]["generation"] == 2, patched
    custom.patch_namespaced_custom_object_status(*place, "one", {"status": {"seen": 2}})

    boxes = dynamic.DynamicClient(api).resources.get(api_version="python.example.com/v1", kind="Box")
    assert boxes.get(name="one", namespace=SPACE).status.seen == 2
    body = {**kind, "metadata": {"name": "applied", "namespace": SPACE}, "spec": {"size": 3}}
    applied = boxes.server_side_apply(body=body, field_manager="story")
    assert applied.spec.colour == "red", applied
    assert [box.metadata.name for box in boxes.get(namespace=SPACE).items] == ["applied", "one"]
    seen = [event["type"] for event in boxes.watch(namespace=SPACE, timeout=1)]
    assert seen == ["ADDED", "ADDED"], seen
    boxes.delete(name="one", namespace=SPACE)
    extensions.delete_custom_resource_definition("boxes.python.example.com")
    done("custom kinds")


def many_kinds(api):
    """Documents of many kinds by the client's own helper, which finds their API by their kind."""
    documents = [
        {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}},
        {"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}},
        {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": "@daily", "jobTemplate": {"spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"minAvailable": 1, "selector": {}}},
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "me"}},
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}},
    ]
    for document in documents:
        document["metadata"] = {"name": "many"}
        utils.create_from_dict(api, document, namespace=SPACE)
    older = client.AutoscalingV1Api(api).read_namespaced_horizontal_pod_autoscaler("many", SPACE)
    assert older.spec.target_cpu_utilization_percentage == 80, older.spec
    assert client.VersionApi(api).get_code().minor.startswith("36")
    groups = [group.name for group in client.ApisApi(api).get_api_versions().groups]
    assert "apps" in groups and "networking.k8s.io" in groups, groups
    done("many kinds")


def end(core):
    core.delete_namespace(SPACE)
    space = core.read_namespace(SPACE)
    assert space.status.phase == "Terminating", space.status
    done("end")


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    objects(core)
    patches(core)
    watches(core)
    workloads(api, core)
    access(api, core)
    custom_kinds(api)
    many_kinds(api)
    end(core)


main()
