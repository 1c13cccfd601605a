//! Certificates are approved and signed only by those who may do so for their signer.

use api_machinery::rbac::Action;
use api_machinery::{Object, ResourceInfo, Status};

use super::authorize;
use crate::authn::User;
use crate::state::Server;

const GROUP: &str = "certificates.k8s.io";

/// Checks a change of a CertificateSigningRequest through a subresource.
pub(crate) fn check(
    server: &Server,
    user: &User,
    (info, subresource): (&ResourceInfo, &str),
    (new, old): (&Object, &Object),
) -> Result<(), Status> {
    if info.group != GROUP || info.kind != "CertificateSigningRequest" {
        return Ok(());
    }
    let differs = |field: &str| new.at(&["status", field]) != old.at(&["status", field]);
    let verb = match subresource {
        "approval" => "approve",
        "status" if differs("certificate") || differs("conditions") => "sign",
        _ => return Ok(()),
    };
    // The signer that is asked, not one that this write would put in its place.
    let signer = old.text(&["spec", "signerName"]);
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let may = |name: &str| {
        let resource = "signers";
        let action =
            Action { verb, is_resource: true, group: GROUP, resource, name, ..Action::default() };
        authorize(server, user, &action).allowed
    };
    if may(signer) || may(&domain) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(&info.group_resource(), old.name(), &why))
}
