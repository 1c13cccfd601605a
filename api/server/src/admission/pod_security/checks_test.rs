//! What the standards say about pods: every text as kube-apiserver 1.36 answered it.

use serde_json::Value;

use super::checks::{Pod, check, details};
use super::policy::Policy;
use api_machinery::Object;

/// `[{pod, told: [[level, version, text]]}]`: what the newest version says for both levels, and what
/// the older ones say where that changes. An annotation for AppArmor is a field, too, by then.
const CASES: &str = include_str!("cases.json");

#[test]
fn pods_are_judged_as_upstream_judges_them() {
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    let mut count = 0;
    for case in &cases {
        let pod = Object::from_value(case["pod"].clone()).unwrap();
        for told in case["told"].as_array().unwrap() {
            let mut namespace = Object::default();
            for (label, value) in [("enforce", &told[0]), ("enforce-version", &told[1])] {
                let label = format!("pod-security.kubernetes.io/{label}");
                namespace.set(&["metadata", "labels", &label], value.clone());
            }
            let (policy, errors) = Policy::of(&namespace);
            assert!(errors.is_empty());
            let text = details(&check(policy.enforce, &Pod::of(&pod)));
            assert_eq!(text, told[2], "{} {}", policy.enforce, case["pod"]);
            count += 1;
        }
    }
    assert_eq!(count, 500, "every answer is in the file");
}
