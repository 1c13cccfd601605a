//! Whatever the fuzzer found worth keeping is harmless, and stays so: all of it is given to its target.

testbed::replay!(api_fuzz: applies custom documents expressions patches protobuf selectors texts tokens yaml);
