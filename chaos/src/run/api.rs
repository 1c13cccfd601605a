//! What an operator asks of a member: its peers, its leadership, its history, its snapshot. One
//! attempt each, with a deadline.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::client::{MemberClient, Tokens};
use crate::limits;

/// A connection to one member, made for a few calls. They are root's, once the store wants to know.
#[derive(Clone, Debug)]
pub(super) struct Api {
    address: String,
    channel: Channel,
    root: MemberClient,
}

impl Api {
    pub(super) fn new(url: &str, tokens: Tokens) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("{url} is not an endpoint"))?
            .connect_timeout(limits::CONNECT_DEADLINE)
            .tcp_nodelay(true)
            .connect_lazy();
        let address = url.trim_start_matches("http://").to_owned();
        let root = MemberClient::over(channel.clone()).sharing(tokens);
        Ok(Self { address, channel, root })
    }

    /// Waits no longer than an operator would. Who was refused for want of a token logs in, and asks again.
    async fn call<M: Clone, R, F>(
        &self,
        deadline: Duration,
        message: M,
        ask: impl Fn(Request<M>) -> F,
    ) -> anyhow::Result<R>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut root = self.root.clone();
        let asking = async {
            let refused = match ask(root.signed(message.clone()).await?).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(refused) => refused,
            };
            if !root.learn(&refused) {
                return Err(refused.into());
            }
            anyhow::Ok(ask(root.signed(message).await?).await?.into_inner())
        };
        tokio::time::timeout(deadline, asking).await.context("no answer in time")?
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// What it says about itself.
    pub(super) async fn status(&self, deadline: Duration) -> anyhow::Result<pb::StatusResponse> {
        let request = pb::StatusRequest::default();
        let ask = async |request| self.maintenance().status(request).await;
        self.call(deadline, request, ask).await
    }

    /// All members, as a majority knows them.
    pub(super) async fn members(&self) -> anyhow::Result<Vec<pb::Member>> {
        let request = pb::MemberListRequest { linearizable: true };
        let ask = async |request| self.cluster().member_list(request).await;
        Ok(self.call(limits::RUN_CALL_DEADLINE, request, ask).await?.members)
    }

    pub(super) async fn remove(&self, id: u64) -> anyhow::Result<()> {
        let request = pb::MemberRemoveRequest { id };
        let ask = async |request| self.cluster().member_remove(request).await;
        self.call(limits::RUN_CALL_DEADLINE, request, ask).await.map(drop)
    }

    /// Returns its id and all members.
    pub(super) async fn add(
        &self,
        peer_url: &str,
        is_learner: bool,
    ) -> anyhow::Result<(u64, Vec<pb::Member>)> {
        let request = pb::MemberAddRequest { peer_urls: vec![peer_url.to_owned()], is_learner };
        let ask = async |request| self.cluster().member_add(request).await;
        let answer = self.call(limits::RUN_CALL_DEADLINE, request, ask).await?;
        Ok((answer.member.context("the answer names no member")?.id, answer.members))
    }

    pub(super) async fn promote(&self, id: u64) -> anyhow::Result<()> {
        let request = pb::MemberPromoteRequest { id };
        let ask = async |request| self.cluster().member_promote(request).await;
        self.call(limits::RUN_CALL_DEADLINE, request, ask).await.map(drop)
    }

    pub(super) async fn move_leader(&self, target_id: u64) -> anyhow::Result<()> {
        let request = pb::MoveLeaderRequest { target_id };
        let ask = async |request| self.maintenance().move_leader(request).await;
        self.call(limits::RUN_CALL_DEADLINE, request, ask).await.map(drop)
    }

    pub(super) async fn defragment(&self) -> anyhow::Result<()> {
        let request = pb::DefragmentRequest {};
        let ask = async |request| self.maintenance().defragment(request).await;
        self.call(limits::RUN_CALL_DEADLINE, request, ask).await.map(drop)
    }

    /// The error of a read at a revision, or none.
    pub(super) async fn read_error_at(&self, revision: i64) -> anyhow::Result<Option<String>> {
        let request = pb::RangeRequest {
            key: b"r/".to_vec().into(),
            revision,
            ..pb::RangeRequest::default()
        };
        let ask = async |request| KvClient::new(self.channel.clone()).range(request).await;
        match self.call(limits::RUN_CALL_DEADLINE, request, ask).await {
            Ok(_) => Ok(None),
            Err(error) => match error.downcast::<Status>() {
                Ok(status) => Ok(Some(status.message().to_owned())),
                Err(other) => Err(other),
            },
        }
    }

    /// A whole snapshot, as etcd's clients save it: the database and its checksum.
    pub(super) async fn snapshot(&self) -> anyhow::Result<Vec<u8>> {
        let ask = async |request| self.maintenance().snapshot(request).await;
        let request = pb::SnapshotRequest {};
        let deadline = limits::RUN_CALL_DEADLINE;
        let mut stream = self.call(deadline, request, ask).await?;
        let mut file = Vec::new();
        loop {
            let next = tokio::time::timeout(limits::RUN_CALL_DEADLINE, stream.message()).await;
            match next.context("the snapshot stopped coming")?? {
                Some(part) => file.extend_from_slice(&part.blob),
                None => return Ok(file),
            }
            ensure!(file.len() <= limits::RUN_SNAPSHOT_BYTES_MAX, "the snapshot is too large");
        }
    }

    /// One of the member's metrics: the sum over its labels. `None` when it has none of that name.
    pub(super) async fn metric(&self, name: &str) -> anyhow::Result<Option<f64>> {
        let page = tokio::time::timeout(limits::RUN_CALL_DEADLINE, self.page("/metrics")).await;
        Ok(metric(&page.context("no metrics in time")??, name))
    }

    async fn page(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let most = limits::RUN_PAGE_BYTES_MAX;
        stream.take(most).read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        if !text.starts_with("HTTP/1.1 200") {
            bail!("{path}: {}", text.lines().next().unwrap_or("no answer"));
        }
        Ok(text)
    }
}

/// Sums a metric over its labels in a page of Prometheus's text form.
fn metric(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest,
        };
        rest.strip_prefix(' ')?.trim().parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::metric;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_longer_names() {
        let page =
            "# HELP a_total x\na_total{from=\"1\"} 2\na_total{from=\"2\"} 3\na_total_more 9\n";
        assert_eq!(metric(page, "a_total"), Some(5.0));
        assert_eq!(metric(page, "a_total_more"), Some(9.0));
        assert_eq!(metric(page, "a"), None);
    }
}
