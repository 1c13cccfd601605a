//! Rights that are taken away are gone, through every member.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | U1 | Who has a right may use it. |
//! | U2 | Once it is acknowledged that a right was taken away, nobody uses it any more. |

use chaos::cluster::Cluster;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::limits;
use crate::story::{Judge, Judged, Member, Store, below};

/// Tells the story.
pub(crate) async fn run(store: &Store, _seed: u64) -> anyhow::Result<Judged> {
    let cluster = Cluster::start(store.launcher(&[]), 3).await?;
    let mut judge = Judge::new("rights");
    let mut auth = AuthClient::new(Member::of(&cluster, 0)?.channel);
    for name in ["root", "u"] {
        let request = pb::AuthUserAddRequest {
            name: name.to_owned(),
            password: "p".to_owned(),
            ..Default::default()
        };
        auth.user_add(request).await?;
    }
    auth.role_add(pb::AuthRoleAddRequest { name: "r".to_owned() }).await?;
    let perm = proto::authpb::Permission {
        perm_type: proto::authpb::permission::Type::Readwrite.into(),
        key: b"k/".to_vec().into(),
        range_end: b"k0".to_vec().into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".to_owned(), perm: Some(perm) };
    auth.role_grant_permission(grant).await?;
    for (user, role) in [("root", "root"), ("u", "r")] {
        let request = pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
        auth.user_grant_role(request).await?;
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await?;

    let mut root = token(&mut auth, "root").await?;
    for member in 0..cluster.size() {
        let code = read(&cluster, member, &mut auth).await?;
        judge.operations += 1;
        judge.must("U1", code == Code::Ok, || format!("member {member}: {code:?}"));
    }
    let revoke = pb::AuthRoleRevokePermissionRequest {
        role: "r".to_owned(),
        key: b"k/".to_vec().into(),
        range_end: b"k0".to_vec().into(),
    };
    auth.role_revoke_permission(with(&root, revoke)).await?;
    root.clear();
    for member in 0..cluster.size() {
        judge.operations += 1;
        let code = read(&cluster, member, &mut auth).await?;
        judge.must("U2", code == Code::PermissionDenied, || {
            format!("member {member}: {code:?} after the right was taken away")
        });
    }
    Ok(judge.done())
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(token) = token.parse() {
        request.metadata_mut().insert("authorization", token);
    }
    request
}

async fn token(auth: &mut AuthClient<Channel>, name: &str) -> anyhow::Result<String> {
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: "p".to_owned() };
    Ok(auth.authenticate(request).await?.into_inner().token)
}

/// How a linearizable read by the user ends.
async fn read(
    cluster: &Cluster,
    member: usize,
    auth: &mut AuthClient<Channel>,
) -> anyhow::Result<Code> {
    let mut client = Member::of(cluster, member)?;
    let code = std::cell::Cell::new(Code::Unauthenticated);
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(token(auth, "u").await?);
    }
    // A token is known to a member when it has applied it, or never, if it is an old one.
    for token in tokens {
        let answer = client.kv.range(with(&token, below("k/"))).await;
        code.set(answer.err().map_or(Code::Ok, |status| status.code()));
        if code.get() != Code::Unauthenticated {
            break;
        }
        tokio::time::sleep(limits::POLL * 4).await;
    }
    Ok(code.get())
}
