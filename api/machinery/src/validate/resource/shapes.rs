//! How upstream shows what it refuses to change.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::validate::go_shape::{self, Field, NUMBER, Shape, TEXT};

const PLAIN: Shape = Shape::Plain;

/// The metadata that a template cannot have, and how upstream spells it.
pub(super) const METADATA: &[(&str, &str)] = &[
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

pub(super) const DEVICE_ID: Shape = Shape::Inline(&[
    ("Driver", "Driver", TEXT),
    ("Pool", "Pool", TEXT),
    ("Device", "Device", TEXT),
    ("ShareID", "ShareID", TEXT),
]);

pub(super) const ATTRIBUTE: Shape = Shape::Inline(&[
    ("int", "IntValue", PLAIN),
    ("bool", "BoolValue", PLAIN),
    ("string", "StringValue", PLAIN),
    ("version", "VersionValue", PLAIN),
    // Lists are off by default.
    ("", "IntValues", PLAIN),
    ("", "BoolValues", PLAIN),
    ("", "StringValues", PLAIN),
    ("", "VersionValues", PLAIN),
]);

const REQUIREMENTS: Shape = Shape::List(&Shape::Inline(&[
    ("key", "Key", TEXT),
    ("operator", "Operator", TEXT),
    ("values", "Values", PLAIN),
]));

pub(super) const NODE_SELECTOR_TERMS: Shape = Shape::List(&Shape::Inline(&[
    ("matchExpressions", "MatchExpressions", REQUIREMENTS),
    ("matchFields", "MatchFields", REQUIREMENTS),
]));

const SELECTORS: Shape = Shape::List(&Shape::Inline(&[(
    "cel",
    "CEL",
    Shape::Struct(&[("expression", "Expression", TEXT)]),
)]));

const TOLERATIONS: Shape = Shape::List(&Shape::Inline(&[
    ("key", "Key", TEXT),
    ("operator", "Operator", TEXT),
    ("value", "Value", TEXT),
    ("effect", "Effect", TEXT),
    ("tolerationSeconds", "TolerationSeconds", PLAIN),
]));

const CAPACITY: Shape = Shape::Struct(&[("requests", "Requests", PLAIN)]);

const EXACTLY: &[Field] = &[
    ("deviceClassName", "DeviceClassName", TEXT),
    ("selectors", "Selectors", SELECTORS),
    ("allocationMode", "AllocationMode", TEXT),
    ("count", "Count", NUMBER),
    ("adminAccess", "AdminAccess", PLAIN),
    ("tolerations", "Tolerations", TOLERATIONS),
    ("capacity", "Capacity", CAPACITY),
];

const ALTERNATIVE: &[Field] = &[
    ("name", "Name", TEXT),
    ("deviceClassName", "DeviceClassName", TEXT),
    ("selectors", "Selectors", SELECTORS),
    ("allocationMode", "AllocationMode", TEXT),
    ("count", "Count", NUMBER),
    ("tolerations", "Tolerations", TOLERATIONS),
    ("capacity", "Capacity", CAPACITY),
];

const OPAQUE: Shape =
    Shape::Struct(&[("driver", "Driver", TEXT), ("parameters", "Parameters", PLAIN)]);

const DEVICES: &[Field] = &[
    (
        "requests",
        "Requests",
        Shape::List(&Shape::Inline(&[
            ("name", "Name", TEXT),
            ("exactly", "Exactly", Shape::Struct(EXACTLY)),
            ("firstAvailable", "FirstAvailable", Shape::List(&Shape::Inline(ALTERNATIVE))),
        ])),
    ),
    (
        "constraints",
        "Constraints",
        Shape::List(&Shape::Inline(&[
            ("requests", "Requests", PLAIN),
            ("matchAttribute", "MatchAttribute", PLAIN),
            ("distinctAttribute", "DistinctAttribute", PLAIN),
        ])),
    ),
    (
        "config",
        "Config",
        Shape::List(&Shape::Inline(&[
            ("requests", "Requests", PLAIN),
            ("opaque", "Opaque", OPAQUE),
        ])),
    ),
];

pub(super) const CLAIM_SPEC: Shape =
    Shape::Inline(&[("devices", "Devices", Shape::Inline(DEVICES))]);

const RESULT: &[Field] = &[
    ("request", "Request", TEXT),
    ("driver", "Driver", TEXT),
    ("pool", "Pool", TEXT),
    ("device", "Device", TEXT),
    ("adminAccess", "AdminAccess", PLAIN),
    ("tolerations", "Tolerations", TOLERATIONS),
    ("bindingConditions", "BindingConditions", PLAIN),
    ("bindingFailureConditions", "BindingFailureConditions", PLAIN),
    ("shareID", "ShareID", PLAIN),
    ("consumedCapacity", "ConsumedCapacity", PLAIN),
];

pub(super) const ALLOCATION: Shape = Shape::Inline(&[
    (
        "devices",
        "Devices",
        Shape::Inline(&[
            ("results", "Results", Shape::List(&Shape::Inline(RESULT))),
            (
                "config",
                "Config",
                Shape::List(&Shape::Inline(&[
                    ("source", "Source", TEXT),
                    ("requests", "Requests", PLAIN),
                    ("opaque", "Opaque", OPAQUE),
                ])),
            ),
        ]),
    ),
    (
        "nodeSelector",
        "NodeSelector",
        Shape::Struct(&[("nodeSelectorTerms", "NodeSelectorTerms", NODE_SELECTOR_TERMS)]),
    ),
    ("allocationTimestamp", "AllocationTimestamp", PLAIN),
]);

/// Metadata has the names of the wire, and no field that is empty.
pub(super) fn changed_template(path: &Path, spec: &Value) -> Error {
    let mut shown: Vec<String> = ["labels", "annotations"]
        .into_iter()
        .filter(|key| !spec["metadata"][*key].is_null())
        .map(|key| format!("\"{key}\":{}", spec["metadata"][key]))
        .collect();
    shown.push(format!("\"Spec\":{}", go_shape::shown(&spec["spec"], &CLAIM_SPEC)));
    go_shape::invalid_as(path, &format!("{{{}}}", shown.join(",")), super::IMMUTABLE)
}
