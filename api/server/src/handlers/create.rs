//! POST: a new object.

use api_machinery::{Status, strategy};
use http::Response;

use super::Context;
use crate::authn::User;
use crate::body::Body;
use crate::registry::{self, Fields};

pub(crate) async fn create(context: &Context, body: &[u8]) -> Result<Response<Body>, Status> {
    let dry_run = context.dry_run()?;
    let mut object = context.decode_own(body)?;
    context.warn_of(&object, None);
    if context.kind.kind == "CertificateSigningRequest" {
        let User { name, uid, groups, extra } = &context.user;
        strategy::set_requester(&mut object, name, uid, groups, extra);
    }
    if context.kind.kind == "APIService" && object.at(&["spec", "service"]).is_some() {
        context.warnings.lock().push(
            "this server keeps APIServices of other API servers, and does not send requests on to \
             them yet"
                .to_owned(),
        );
    }
    context.check_escalation(&object, None)?;
    let manager = context.manager()?;
    let by = context.by(Fields::Of(&manager), dry_run);
    let request = registry::Create { kind: context.kind, by };
    let created = registry::create(&context.server, &request, object).await?;
    context.reply_written(201, &created)
}
