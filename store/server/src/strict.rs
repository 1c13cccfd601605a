//! Whether a change of the membership is safe: what etcd asks while `--strict-reconfig-check` is on.

use crate::error::Error;

/// A voter in the eyes of clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voter {
    pub(crate) id: u64,
    /// It has run at least once.
    pub(crate) started: bool,
    /// This leader has ever heard of it.
    pub(crate) heard: bool,
    /// It is in touch with the leader now.
    pub(crate) there: bool,
}

/// What is to be changed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A member that will vote.
    AddVoter,
    /// A member that will not.
    AddLearner,
    /// A voter goes, or somebody who is none.
    Remove(u64),
    /// A learner becomes a voter.
    Promote,
}

/// # Errors
/// `MemberNotEnoughStarted` if the voters after the change that have started would be no quorum, and
/// `Unhealthy` if those that are there would not be one.
pub(crate) fn check(voters: &[Voter], step: Step) -> Result<(), Error> {
    let ready = |voters: usize, started: usize| {
        if started > voters / 2 { Ok(()) } else { Err(Error::MemberNotEnoughStarted) }
    };
    let started = voters.iter().filter(|voter| voter.started).count();
    match step {
        Step::AddVoter | Step::AddLearner => {
            // As etcd: a lone member, a restored one for instance, may always have a second one.
            if matches!(step, Step::AddVoter) && (started, voters.len()) != (1, 1) {
                ready(voters.len() + 1, started)?;
            }
            let all_there = voters.iter().all(|voter| voter.there);
            if all_there { Ok(()) } else { Err(Error::Unhealthy) }
        }
        // The learner counts as started.
        Step::Promote => ready(voters.len() + 1, started + 1),
        Step::Remove(id) => {
            let leaving = voters.iter().find(|voter| voter.id == id);
            let (left, started_left) = match leaving {
                Some(voter) => (voters.len() - 1, started - usize::from(voter.started)),
                None => (voters.len(), started),
            };
            ready(left, started_left)?;
            // One that is down takes nothing of the quorum away.
            if !leaving.is_some_and(|voter| voter.there) {
                return Ok(());
            }
            let there = voters.iter().filter(|voter| voter.there).count();
            if there - 1 > (voters.len() - 1) / 2 { Ok(()) } else { Err(Error::Unhealthy) }
        }
    }
}

/// Whether waiting would change nothing. A leader that was just elected has heard nobody yet: a voter that
/// lives looks as if it were down, and one that has not said its name as if it had never run.
pub(crate) fn is_settled(voters: &[Voter], checked: &Result<(), Error>) -> bool {
    voters.iter().all(|voter| voter.heard || !voter.started && checked.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Voters 1, 2, ... : `+` is there, `-` is down, `?` never started, `*` has started and was not heard of yet.
    fn voters(states: &str) -> Vec<Voter> {
        let voter = |(id, state): (u64, char)| Voter {
            id,
            started: state != '?',
            heard: matches!(state, '+' | '-'),
            there: state == '+',
        };
        (1..).zip(states.chars()).map(voter).collect()
    }

    #[test]
    fn a_new_leader_waits_for_those_it_has_not_heard_of() {
        let settled = |states: &str, step| {
            let voters = voters(states);
            is_settled(&voters, &check(&voters, step))
        };
        // Voter 2 may live, and voter 3 be down: the removal is not decided yet.
        assert!(check(&voters("+**"), Step::Remove(2)).is_ok());
        assert!(!settled("+**", Step::Remove(2)) && settled("++-", Step::Remove(2)));
        // A formation whose names are on their way.
        assert!(!settled("+??", Step::AddVoter) && settled("+++", Step::AddVoter));
        // One that never ran is not waited for when nothing depends on it.
        assert!(settled("++?", Step::Remove(3)));
    }

    #[test]
    fn a_change_must_leave_a_quorum_of_members_that_have_started_and_are_there() {
        const GOOD: Result<(), Error> = Ok(());
        const STARTED: Result<(), Error> = Err(Error::MemberNotEnoughStarted);
        const HEALTH: Result<(), Error> = Err(Error::Unhealthy);
        for (states, step, expected) in [
            ("+", Step::AddVoter, GOOD),
            ("+?", Step::AddVoter, STARTED),
            ("+?", Step::AddLearner, HEALTH),
            ("++", Step::AddVoter, GOOD),
            ("+++", Step::AddVoter, GOOD),
            // Three of four would do, but a member that is down is not left behind.
            ("++-", Step::AddVoter, HEALTH),
            ("+++?", Step::AddVoter, HEALTH),
            ("+++??", Step::AddVoter, STARTED),
            ("+++", Step::Remove(1), GOOD),
            ("++-", Step::Remove(3), GOOD),
            ("++-", Step::Remove(1), HEALTH),
            ("++?", Step::Remove(3), GOOD),
            ("++", Step::Remove(2), GOOD),
            ("+", Step::Remove(1), STARTED),
            ("+?", Step::Remove(1), STARTED),
            ("+?", Step::Remove(2), GOOD),
            // Nobody's id: it is said later that there is no such member.
            ("++", Step::Remove(9), GOOD),
            ("+", Step::Promote, GOOD),
            ("+??", Step::Promote, STARTED),
            ("++--", Step::Remove(1), HEALTH),
            ("+++--", Step::Remove(4), GOOD),
            ("+++--", Step::Remove(1), HEALTH),
        ] {
            assert_eq!(check(&voters(states), step), expected, "{states} {step:?}");
        }
    }
}
