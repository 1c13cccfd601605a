//! Rust's etcd-client against one member, over gRPC: keys, watches, leases, locks, elections, users.
//!
//! Usage: etcd-client-story HOST:PORT. Prints one line for each thing that went as it must.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, EventType, GetOptions, LockOptions,
    PutOptions, Txn, TxnOp, WatchOptions,
};
use tokio::time::timeout;

type Story = Result<(), Error>;

fn done(what: &str) {
    println!("ok {what}");
}

/// The value of a key, if it is there.
async fn value(client: &mut Client, key: &str) -> Result<Option<String>, Error> {
    let found = client.get(key, None).await?;
    Ok(found.kvs().first().map(|kv| kv.value_str().expect("text").to_owned()))
}

async fn keys(client: &mut Client) -> Story {
    client.put("rs/a", "1", None).await?;
    let replaced = client.put("rs/a", "2", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(replaced.prev_key().expect("it was there").value(), b"1");
    client.put("rs/b", "3", None).await?;
    let all = GetOptions::new().with_prefix().with_limit(1);
    let found = client.get("rs/", Some(all)).await?;
    assert_eq!((found.kvs().len(), found.count(), found.more()), (1, 2, true));
    let compare = [Compare::value("rs/a", CompareOp::Equal, "2")];
    let txn = Txn::new()
        .when(compare)
        .and_then([TxnOp::put("rs/a", "one", None), TxnOp::delete("rs/b", None)])
        .or_else([TxnOp::get("rs/a", None)]);
    let answer = client.txn(txn.clone()).await?;
    assert!(answer.succeeded() && answer.op_responses().len() == 2);
    assert!(!client.txn(txn).await?.succeeded());
    assert_eq!(value(client, "rs/b").await?, None);
    let refused = client.put("", "x", None).await.expect_err("there is no such key");
    assert!(refused.to_string().contains("etcdserver: key is not provided"), "{refused}");
    done("keys");
    Ok(())
}

async fn watches(client: &mut Client) -> Story {
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut watch = client.watch("rs/w/", Some(options)).await?;
    let created = watch.message().await?.expect("a first frame");
    assert!(created.created());
    client.put("rs/w/0", "0", None).await?;
    client.put("rs/w/1", "1", None).await?;
    client.delete("rs/w/0", None).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let next = timeout(Duration::from_secs(10), watch.message()).await.expect("in time")?;
        for event in next.expect("the watch goes on").events() {
            let kv = event.kv().expect("a key");
            let before = event.prev_kv().map(|kv| kv.value().to_vec());
            seen.push((event.event_type(), kv.key().to_vec(), before));
        }
    }
    let event = |kind, key: &str, before: Option<&str>| {
        (kind, key.as_bytes().to_vec(), before.map(|value| value.as_bytes().to_vec()))
    };
    let expected = [
        event(EventType::Put, "rs/w/0", None),
        event(EventType::Put, "rs/w/1", None),
        event(EventType::Delete, "rs/w/0", Some("0")),
    ];
    assert_eq!(seen, expected);
    watch.cancel(created.watch_id()).await?;
    done("watches");
    Ok(())
}

async fn leases(client: &mut Client) -> Story {
    let id = client.lease_grant(30, None).await?.id();
    client.put("rs/leased", "x", Some(PutOptions::new().with_lease(id))).await?;
    let left = client.lease_time_to_live(id, None).await?;
    assert!(left.granted_ttl() == 30 && left.ttl() <= 30 && left.ttl() > 20);
    let (mut keeper, mut answers) = client.lease_keep_alive(id).await?;
    keeper.keep_alive().await?;
    assert_eq!(answers.message().await?.expect("an answer").ttl(), 30);
    assert!(client.leases().await?.leases().iter().any(|lease| lease.id() == id));
    client.lease_revoke(id).await?;
    assert_eq!(value(client, "rs/leased").await?, None);
    assert_eq!(client.lease_time_to_live(id, None).await?.ttl(), -1);
    done("leases");
    Ok(())
}

async fn locks(client: &mut Client) -> Story {
    let first = client.lease_grant(30, None).await?.id();
    let second = client.lease_grant(30, None).await?.id();
    let held = client.lock("rs-lock", Some(LockOptions::new().with_lease(first))).await?;
    let mut other = client.clone();
    let mut waiting = tokio::spawn(async move {
        other.lock("rs-lock", Some(LockOptions::new().with_lease(second))).await
    });
    // It waits for as long as the first holds it.
    assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    client.unlock(held.key()).await?;
    let mine = timeout(Duration::from_secs(10), waiting).await.expect("in time").expect("whole")?;
    client.unlock(mine.key()).await?;
    client.lease_revoke(first).await?;
    client.lease_revoke(second).await?;
    done("locks");
    Ok(())
}

async fn elections(client: &mut Client) -> Story {
    let lease = client.lease_grant(30, None).await?.id();
    let elected = client.campaign("rs-election", "me", lease).await?;
    assert_eq!(elected.leader().expect("a key").name(), b"rs-election");
    let leader = client.leader("rs-election").await?;
    assert_eq!(leader.kv().expect("a leader").value(), b"me");
    client.resign(None).await.expect_err("who resigns must say from what");
    client.lease_revoke(lease).await?;
    assert!(client.leader("rs-election").await.is_err());
    done("elections");
    Ok(())
}

async fn users(client: &mut Client, endpoint: &str) -> Story {
    client.user_add("root", "pw", None).await?;
    client.role_add("root").await?;
    client.user_grant_role("root", "root").await?;
    client.auth_enable().await?;
    let options = ConnectOptions::new().with_user("root", "pw");
    let mut known = Client::connect([endpoint], Some(options)).await?;
    let nobody = client.get("rs/a", None).await.expect_err("an unknown client was let in");
    let found = value(&mut known, "rs/a").await;
    let options = ConnectOptions::new().with_user("root", "no");
    let wrong = Client::connect([endpoint], Some(options)).await.map(drop);
    // Before anything is judged: a store that asks for users is of no use to the next story.
    known.auth_disable().await?;
    client.user_delete("root").await?;
    client.role_delete("root").await?;
    assert!(nobody.to_string().contains("user name is empty"), "{nobody}");
    assert_eq!(found?.as_deref(), Some("one"));
    let wrong = wrong.expect_err("a wrong password was taken");
    assert!(wrong.to_string().contains("authentication failed"), "{wrong}");
    done("users");
    Ok(())
}

#[tokio::main]
async fn main() -> Story {
    let endpoint = std::env::args().nth(1).expect("say where the store is: HOST:PORT");
    let mut client = Client::connect([&endpoint], None).await?;
    keys(&mut client).await?;
    watches(&mut client).await?;
    leases(&mut client).await?;
    locks(&mut client).await?;
    elections(&mut client).await?;
    users(&mut client, &endpoint).await?;
    client.delete("rs/", Some(etcd_client::DeleteOptions::new().with_prefix())).await?;
    println!("etcd-client is content");
    Ok(())
}
