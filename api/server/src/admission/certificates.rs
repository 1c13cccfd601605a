//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may decide about
//! requests for certificates of a signer, who may sign them, and what is never signed.

use api_machinery::rbac::Action;
use api_machinery::{Object, Status};
use base64::Engine;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, parse_x509_pem};

use super::{Attributes, Operation};
use crate::authz;

/// Whose certificates log in to the API.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// Whoever is in it may do everything.
const MASTERS: &str = "system:masters";

pub(super) fn validate(asked: &Attributes<'_>, request: &Object) -> Result<(), Status> {
    if asked.kind.group != "certificates.k8s.io" || asked.kind.kind != "CertificateSigningRequest" {
        return Ok(());
    }
    match (asked.operation, asked.subresource, asked.old) {
        (Operation::Create, "", _) => {
            subject(request).map_err(|why| asked.forbidden(request, &why))
        }
        (Operation::Update, "approval", Some(old)) => may(asked, old, "approve"),
        (Operation::Update, "status", Some(old)) => {
            let is_signed = ["certificate", "conditions"]
                .iter()
                .any(|field| request.at(&["status", field]) != old.at(&["status", field]));
            if is_signed { may(asked, old, "sign") } else { Ok(()) }
        }
        (Operation::Create | Operation::Update | Operation::Delete, _, _) => Ok(()),
    }
}

/// For this signer, or for all of its domain.
fn may(asked: &Attributes<'_>, old: &Object, verb: &str) -> Result<(), Status> {
    let signer = old.text(&["spec", "signerName"]);
    let domain = signer.split('/').next().unwrap_or_default();
    let is_allowed = [signer, &format!("{domain}/*")].into_iter().any(|name| {
        let action = Action {
            verb,
            is_resource: true,
            group: "certificates.k8s.io",
            resource: "signers",
            name,
            ..Action::default()
        };
        authz::authorize(asked.server, asked.user, &action).allowed
    });
    if is_allowed {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(asked.forbidden(old, &why))
}

/// No client certificate makes a master of anybody.
fn subject(request: &Object) -> Result<(), String> {
    if request.text(&["spec", "signerName"]) != CLIENT_SIGNER {
        return Ok(());
    }
    let refuse = |why: &str| format!("failed to parse CSR: {why}");
    let text = base64::engine::general_purpose::STANDARD
        .decode(request.text(&["spec", "request"]))
        .map_err(|error| refuse(&error.to_string()))?;
    let (_, block) = parse_x509_pem(&text).map_err(|error| refuse(&error.to_string()))?;
    let (_, parsed) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|error| refuse(&error.to_string()))?;
    let mut organizations = parsed.certification_request_info.subject.iter_organization();
    if organizations.any(|one| one.as_slice() == MASTERS.as_bytes()) {
        return Err(format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(signer: &str, organization: &str) -> Object {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = parameters.serialize_request(&key).unwrap().pem().unwrap();
        let encoded = base64::engine::general_purpose::STANDARD.encode(pem);
        let tree = json!({"spec": {"signerName": signer, "request": encoded}});
        Object::from_value(tree).unwrap()
    }

    #[test]
    fn no_client_certificate_is_signed_for_the_masters() {
        assert_eq!(subject(&request(CLIENT_SIGNER, "system:nodes")), Ok(()));
        assert_eq!(subject(&request("example.com/mine", MASTERS)), Ok(()));
        assert_eq!(
            subject(&request(CLIENT_SIGNER, MASTERS)).unwrap_err(),
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        );
    }
}
