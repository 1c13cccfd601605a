//! `certificates.k8s.io`.

use super::{NAMESPACED, status};
use crate::kinds::{NameRule, ResourceInfo, Subresource};

const CERTIFICATES: ResourceInfo = ResourceInfo { group: "certificates.k8s.io", ..NAMESPACED };

pub(super) const KINDS: [ResourceInfo; 1] = [ResourceInfo {
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    subresources: &[
        Subresource {
            name: "approval",
            ..status("certificates.k8s.io", "CertificateSigningRequest")
        },
        status("certificates.k8s.io", "CertificateSigningRequest"),
    ],
    storage_prefix: "certificatesigningrequests",
    selectable_fields: &["spec.signerName"],
    name_rule: NameRule::PathSegment,
    has_status: true,
    type_name: "api.certificates.v1.CertificateSigningRequest",
    ..CERTIFICATES
}];
