//! Leases: named by the client or the server, given back, renewed, asked about.

use proto::etcdserverpb as pb;
use rand::Rng as _;

use super::Generator;
use crate::step::{Step, keep_alive_method};
use crate::wire::dynamic;

impl Generator {
    /// Without keepalives: their stream has no user.
    pub(super) fn lease_of_users(&mut self) -> Step {
        loop {
            let step = self.lease();
            if !matches!(step, Step::KeepAlive { .. }) {
                return step;
            }
        }
    }

    pub(super) fn lease(&mut self) -> Step {
        match self.rng.random_range(0..20) {
            0..6 => self.grant(),
            6..9 => {
                let id = self.some_lease();
                Step::call("Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id })
            }
            9..14 => {
                let request =
                    pb::LeaseTimeToLiveRequest { id: self.some_lease(), keys: self.chance(60) };
                Step::call("Lease/LeaseTimeToLive", &request)
            }
            14..16 => Step::call("Lease/LeaseLeases", &pb::LeaseLeasesRequest {}),
            _ => {
                let request = pb::LeaseKeepAliveRequest { id: self.some_lease() };
                Step::KeepAlive { request: dynamic(&keep_alive_method().input, &request) }
            }
        }
    }

    fn some_lease(&mut self) -> i64 {
        match self.rng.random_range(0..12) {
            0 => 0,
            1 => 999,
            2 => -self.rng.random_range(1..4),
            _ => self.known_lease(),
        }
    }

    fn grant(&mut self) -> Step {
        let id = match self.rng.random_range(0..10) {
            0..3 if self.server_names_leases => 0,
            3 => -self.rng.random_range(1..4),
            4 => self.known_lease(),
            _ => self.rng.random_range(1..40),
        };
        // None that ends before the script does; shorter ones have scripts of their own.
        let ttl = match self.rng.random_range(0..10) {
            0 => 9_000_000_000,
            1 => 9_000_000_001,
            2 => i64::MAX,
            _ => self.rng.random_range(600..5000),
        };
        Step::call("Lease/LeaseGrant", &pb::LeaseGrantRequest { id, ttl })
    }
}
