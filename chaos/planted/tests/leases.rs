//! What the stories found in our own store, kept: each is run on members without a bug.

/// A leader that slept had every lease revoked that ran out by its own timers, though clients had renewed
/// them with its successor: it asked whether anybody leads, and handed the revocation to whoever did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_before_has_no_lease_revoked() {
    let binary = testbed::orlop(&["proto", "store"]);
    chaos_planted::prove("leases-asleep", binary).await.expect("it keeps its promises");
}
