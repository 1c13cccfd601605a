//! Joining a running cluster: its members say who this one is. And founding one: they say if this one did
//! that before.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use proto::{etcdserverpb::Member, orlop::peer::v1 as peer};
use tokio::time::{Instant, sleep, timeout};

use crate::{bootstrap::Identity, config::Config, limits, raft::Network};

/// Asks the members that `--initial-cluster` names, until one of them knows this member.
///
/// # Errors
/// If none answers in time, or the cluster that answers is not the one of the flags. The words
/// begin as etcd's do.
pub(crate) async fn identify(config: &Config, network: &Network) -> anyhow::Result<Identity> {
    let others: Vec<&String> = others(config).collect();
    let deadline = Instant::now() + limits::JOIN_TIMEOUT;
    loop {
        let mut problem: anyhow::Error =
            Never("--initial-cluster names no other member".to_owned()).into();
        for url in &others {
            match ask(network, url).await.and_then(|answer| joiner(&answer, config)) {
                Ok(identity) => return Ok(identity),
                Err(error) => problem = error,
            }
        }
        if Instant::now() >= deadline || problem.is::<Never>() {
            return Err(problem.context(
                "cannot fetch cluster info from peer urls: \
                 could not retrieve cluster information from the given URLs",
            ));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Who this member is, as the answer of another one says.
pub(crate) fn joiner(answer: &peer::IdentifyResponse, config: &Config) -> anyhow::Result<Identity> {
    let found = find(&answer.members, &sorted(&config.advertise_peer_urls), config)?;
    let mut identity = Identity::new(answer.cluster_id, found.id);
    identity.joins_as_learner = found.is_learner;
    Ok(identity)
}

/// Asks the other founders whether this one has founded the cluster with them before: it has no data any
/// more, so it would vote a second time. Whoever does not answer at once is taken to say no: founders start
/// at any time, and wait for nobody.
///
/// # Errors
/// If one of them knows this member by its name. The words begin as etcd's do.
pub(crate) async fn check_founder(
    config: &Config,
    network: &Network,
    own: &Identity,
) -> anyhow::Result<()> {
    let answers = futures::future::join_all(others(config).map(|url| ask(network, url))).await;
    let known = answers.into_iter().flatten().filter(|answer| answer.cluster_id == own.cluster_id);
    for member in known.flat_map(|answer| answer.members) {
        if member.id == own.member_id {
            not_again(&member)?;
        }
    }
    Ok(())
}

/// The peer URLs of the others.
fn others(config: &Config) -> impl Iterator<Item = &String> {
    config
        .initial_cluster
        .iter()
        .filter(|(name, _)| *name != config.name)
        .flat_map(|(_, urls)| urls)
}

/// Raft forgets what it promised when a member comes back without its data.
fn not_again(member: &Member) -> Result<(), Never> {
    if member.name.is_empty() {
        return Ok(());
    }
    Err(Never(format!(
        "member {:x} has already been bootstrapped, and its data directory is empty: \
         remove the member from the cluster and add it again",
        member.id
    )))
}

async fn ask(network: &Network, url: &str) -> anyhow::Result<peer::IdentifyResponse> {
    let mut client = network.channel(url)?;
    let answer =
        timeout(limits::PEER_CONNECT_TIMEOUT * 2, client.identify(peer::IdentifyRequest {}))
            .await
            .with_context(|| format!("{url} did not answer in time"))?;
    Ok(answer.map_err(|status| anyhow::anyhow!("{url}: {}", status.message()))?.into_inner())
}

/// Waiting does not mend it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Never(String);

fn sorted(urls: &[String]) -> BTreeSet<&str> {
    urls.iter().map(String::as_str).collect()
}

/// What the running cluster knows of this member, if the flags describe that cluster.
fn find<'a>(
    members: &'a [Member],
    own: &BTreeSet<&str>,
    config: &Config,
) -> anyhow::Result<&'a Member> {
    let found = members.iter().find(|member| sorted(&member.peer_urls) == *own);
    // A member that was asked may not have heard of the newest one yet: that is worth waiting for.
    let found = found.with_context(|| {
        let urls = config.advertise_peer_urls.join(",");
        format!(
            "error validating peerURLs: no member of the cluster has the peer URLs {urls}; \
             add it first (etcdctl member add)"
        )
    })?;
    if members.len() != config.initial_cluster.len() {
        anyhow::bail!(
            "error validating peerURLs: member count is unequal \
             (--initial-cluster has {}, the cluster {})",
            config.initial_cluster.len(),
            members.len()
        );
    }
    for (name, urls) in &config.initial_cluster {
        if !members.iter().any(|member| sorted(&member.peer_urls) == sorted(urls)) {
            let urls = urls.join(",");
            let text = format!(
                "error validating peerURLs: unmatched member while checking PeerURLs \
                 ({name}={urls} is not in the cluster)"
            );
            return Err(Never(text).into());
        }
    }
    not_again(found)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, url: &str) -> Member {
        Member { id, name: name.to_owned(), peer_urls: vec![url.to_owned()], ..Member::default() }
    }

    fn config(cluster: &str) -> Config {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            flags: crate::Flags,
        }
        let line = ["store", "--name=b", "--initial-advertise-peer-urls=http://b:1"];
        let line = line.into_iter().map(str::to_owned).chain([
            format!("--initial-cluster={cluster}"),
            "--initial-cluster-state=existing".to_owned(),
        ]);
        <Line as clap::Parser>::parse_from(line).flags.into_config().unwrap()
    }

    #[test]
    fn a_member_is_known_by_its_urls_and_the_whole_cluster_must_agree() {
        let flags = config("a=http://a:1,b=http://b:1");
        let urls = sorted(&flags.advertise_peer_urls);
        let running = [member(1, "a", "http://a:1"), member(2, "", "http://b:1")];
        assert_eq!(find(&running, &urls, &flags).unwrap().id, 2);

        let says = |members: &[Member]| find(members, &urls, &flags).unwrap_err();
        assert!(says(&running[..1]).to_string().contains("no member of the cluster has"));
        let more = [running[0].clone(), running[1].clone(), member(3, "c", "http://c:1")];
        assert!(says(&more).to_string().contains("member count is unequal"));
        let other = [member(1, "z", "http://z:1"), running[1].clone()];
        assert!(says(&other).is::<Never>(), "{}", says(&other));
        // Without its data a member must not vote again under its old id.
        let lost = [running[0].clone(), member(2, "b", "http://b:1")];
        assert!(says(&lost).to_string().contains("already been bootstrapped"));
    }

    #[test]
    fn who_is_known_by_name_founded_the_cluster_before() {
        assert!(not_again(&member(2, "", "http://b:1")).is_ok(), "it never served");
        let again = not_again(&member(2, "b", "http://b:1")).unwrap_err().to_string();
        assert!(again.starts_with("member 2 has already been bootstrapped"), "{again}");
    }

    #[tokio::test]
    async fn who_names_nobody_to_ask_is_told_at_once() {
        let flags = config("b=http://b:1");
        let network =
            Network::new(0, None, flags.election, crate::metrics::peers::Peers::default());
        let told = timeout(limits::JOIN_TIMEOUT / 2, identify(&flags, &network)).await;
        let error = format!("{:#}", told.expect("nothing to wait for").unwrap_err());
        assert!(error.ends_with("--initial-cluster names no other member"), "{error}");
    }
}
