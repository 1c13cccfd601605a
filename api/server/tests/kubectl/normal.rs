//! What differs from run to run becomes a word.

use regex::Regex;

/// What is replaced, and why it must be.
const RULES: &[(&str, &str)] = &[
    // Chosen by chance.
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"kubectl-edit-\d+", "kubectl-edit-N"),
    (r"kube-api-access-\w{5}", "kube-api-access-N"),
    (r"\b10\.96\.0\.(?:[2-9]|\d\d+)\b", "CLUSTER-IP"),
    // 30042 is asked for.
    (r"\b300(?:[0-35-9]\d|4[013-9])\b", "NODE-PORT"),
    // Of now.
    (r"\b\d+y\d+d\b", "YEARS"),
    (r"20(?:2[5-9]|[3-9]\d)-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| \+0000 UTC)", "TIME"),
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d 20\d\d", "TIME"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
    (r"(?:invalid|\d+s)( +)\(x", "AGE$1(x"),
    (r"( )(?:\d+[dhy])?(?:\d+m)?\d+(?:ms|s|m)( |$)", "${1}AGE$2"),
    (r#"(resourceVersion\\?"?: *\\?"?)\d+"#, "${1}RV"),
    (r"(Resource Version: +)\d+", "${1}RV"),
    (r"(Expected resource version to be 1, was )\d+", "${1}RV"),
    (r"(Too large resource version: \d+, current: )\d+", "${1}RV"),
    // Of one machine or one server.
    (r"https://127\.0\.0\.1:\d+", "SERVER"),
    (r"(endpointslice\S+ +IPv4 +)\d+", "${1}API-PORT"),
    (r"(10\.77\.0\.3:|[tT]arget[pP]ort: |TargetPort: +)\d{4,5}\b", "${1}API-PORT"),
    (r"Key: /[\w-]+/", "Key: /PREFIX/"),
    // Columns are as wide as the values were.
    (r"(\S) {2,}", "$1  "),
];

/// Lines that only one of the two says, and that are left out.
const LEFT_OUT: &[(&str, &str)] = &[
    ("no controller of this server carries out", "ours says what it lacks: it is being built"),
    ("and does not heed them yet", "the same"),
    ("and does not call the webhooks yet", "the same"),
    ("openshift", "the real server is a build of OpenShift's fork"),
    ("[/.well-known", "the fork shows these to everybody"),
    ("Failed to watch", "a race of the client with itself"),
];

/// The rules, compiled.
pub(crate) struct Normal {
    rules: Vec<(Regex, &'static str)>,
    folder: String,
}

impl Normal {
    /// `folder` is the place that this run may write to.
    pub(crate) fn new(folder: &str) -> Self {
        let rule = |(pattern, word): &(&str, &'static str)| {
            let pattern = format!("(?m){pattern}");
            (Regex::new(&pattern).expect("the patterns are right"), *word)
        };
        Self { rules: RULES.iter().map(rule).collect(), folder: folder.to_owned() }
    }

    pub(crate) fn of(&self, text: &str) -> String {
        let is_kept = |line: &&str| !LEFT_OUT.iter().any(|(part, _)| line.contains(part));
        let lines: Vec<&str> = text.lines().filter(is_kept).collect();
        let mut out = lines.join("\n").replace(&self.folder, "TMP");
        for (rule, word) in &self.rules {
            // What two matches share is seen the second time.
            for _ in 0..2 {
                if let std::borrow::Cow::Owned(changed) = rule.replace_all(&out, *word) {
                    out = changed;
                }
            }
        }
        out
    }
}
