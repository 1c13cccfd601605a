//! Whatever the fuzzer found worth keeping is harmless, and stays so: all of it is given to its target.

testbed::replay!(store_fuzz: apply documents flags peer requests snapshot state wal watch);

/// A seed that a decoder refuses at once would teach the fuzzer nothing.
#[test]
fn seeds_are_of_what_is_understood() {
    store_fuzz::seeds::check();
}
