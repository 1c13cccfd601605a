//! What the fuzzer starts from: inputs that are understood, of each kind that a target knows.

use api_machinery::{continue_token, kinds};
use testbed::fuzz::push_wide_piece;

/// The seeds of a target; none of an unknown one.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "applies" => generated(&[&[0], &[1]]),
        "custom" => custom(),
        "documents" => [generated(&[&[]]), texts_of_kinds()].concat(),
        "expressions" => expressions(),
        "patches" => patches(),
        "protobuf" => protobuf(),
        "selectors" => selectors(),
        "texts" => texts(),
        "tokens" => tokens(),
        "yaml" => yaml(),
        _ => Vec::new(),
    }
}

/// Where a kind is among those that are stored, as targets read it.
fn place(kind: &str) -> [u8; 2] {
    let mut stored = kinds::all().iter().filter(|kind| kind.is_stored());
    let place = stored.position(|one| one.kind == kind).expect("seeds name kinds that are served");
    u16::try_from(place).expect("there are few kinds").to_le_bytes()
}

/// Bytes that say something else at each step, and are the same each time.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u32::from(seed).wrapping_mul(2_654_435_761).wrapping_add(1);
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..length).map(step).collect()
}

const KINDS: [&str; 14] = [
    "Pod",
    "Service",
    "Deployment",
    "Job",
    "CronJob",
    "Ingress",
    "Node",
    "ConfigMap",
    "Secret",
    "HorizontalPodAutoscaler",
    "PersistentVolume",
    "NetworkPolicy",
    "StatefulSet",
    "Role",
];

/// Objects made of noise, for targets that make them of bytes; with each of some bytes after the kind.
fn generated(modes: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (number, kind) in (0..).zip(KINDS) {
        for mode in modes {
            // `documents` has its own choice before the kind, `applies` has it after.
            let mut seed = if mode.is_empty() { vec![0] } else { Vec::new() };
            seed.extend(place(kind));
            seed.extend(*mode);
            seed.extend(noise(number, 600));
            out.push(seed);
        }
    }
    out
}

fn bodies() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "Pod",
            r#"{"metadata":{"name":"a","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"E","value":"1"}],"resources":{"limits":{"cpu":"100m","memory":"1Gi"}},"livenessProbe":{"httpGet":{"port":"http","path":"/"}}}],"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}],"tolerations":[{"operator":"Exists"}]},"unknown":1}"#,
        ),
        (
            "Deployment",
            r#"{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":"25%"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
        ),
        (
            "Service",
            r#"{"metadata":{"name":"s"},"spec":{"selector":{"a":"b"},"ports":[{"port":80,"targetPort":"http"},{"name":"b","port":81}],"type":"NodePort"}}"#,
        ),
        (
            "CronJob",
            r#"{"metadata":{"name":"c"},"spec":{"schedule":"*/5 * * * *","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}}"#,
        ),
        (
            "ValidatingAdmissionPolicy",
            r#"{"metadata":{"name":"p"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"]}]},"validations":[{"expression":"object.metadata.name != 'x'"}]}}"#,
        ),
    ]
}

fn texts_of_kinds() -> Vec<Vec<u8>> {
    let seed = |(kind, body): &(&str, &str)| [&[1], &place(kind)[..], body.as_bytes()].concat();
    bodies().iter().map(seed).collect()
}

fn yaml() -> Vec<Vec<u8>> {
    let texts = [
        ("Pod", "metadata: {name: a}\nspec:\n  containers:\n  - &c\n    name: c\n    image: i\n"),
        (
            "ConfigMap",
            "metadata:\n  name: a\ndata:\n  a: |\n    x\n    y\n  b: >-\n    z\n  c: 'd'\n",
        ),
        ("ConfigMap", "a: &a [1, 2]\nb: *a\n<<: {c: d}\n---\ne: f\n"),
        ("Secret", "data: {a: !!binary YQ==}\nstringData: {x: \"\\u00e9\", y: 0x10, z: yes}\n"),
    ];
    let mut out: Vec<_> = texts
        .iter()
        .map(|(kind, text)| [&[0], &place(kind)[..], text.as_bytes()].concat())
        .collect();
    for (kind, body) in bodies() {
        out.push([&[0], &place(kind)[..], body.as_bytes()].concat());
        out.push([&[1], &place(kind)[..], &noise(7, 300)[..]].concat());
    }
    out
}

fn protobuf() -> Vec<Vec<u8>> {
    bodies()
        .iter()
        .filter_map(|(kind, body)| {
            let info = kinds::all().iter().find(|one| one.kind == *kind)?;
            let tree = serde_json::from_str(body).ok()?;
            let message = api_machinery::protobuf::encode_message(info.type_id(), &tree).ok()?;
            Some([&place(kind)[..], &message].concat())
        })
        .collect()
}

fn pieces(first: &[u8], pieces: &[&str]) -> Vec<u8> {
    let mut out = first.to_vec();
    for piece in pieces {
        push_wide_piece(&mut out, piece.as_bytes());
    }
    out
}

fn patches() -> Vec<Vec<u8>> {
    let target = r#"{"a":{"b":[1,2,{"c":null}]},"d":"e"}"#;
    let mut out = vec![
        pieces(
            &[0],
            &[
                target,
                r#"[{"op":"add","path":"/a/b/-","value":3},{"op":"copy","from":"/a","path":"/a/f"},{"op":"move","from":"/d","path":"/a/g"},{"op":"remove","path":"/a/b/0"},{"op":"replace","path":"/a","value":{}},{"op":"test","path":"/a","value":{}}]"#,
            ],
        ),
        pieces(&[1], &[target, r#"{"a":{"b":null,"x":{"y":null}},"d":[1]}"#]),
        pieces(&[3], &[target, r#"{"a":{"b":[2,1]},"~/x":"e"}"#]),
    ];
    for (kind, body) in bodies() {
        let patch = r#"{"metadata":{"labels":{"x":null}},"spec":{"$retainKeys":["a"],"template":{"spec":{"containers":[{"name":"c","$patch":"delete"},{"name":"d"}],"$setElementOrder/containers":[{"name":"d"}]}},"containers":[{"name":"c","image":"j"}]}}"#;
        out.push(pieces(&[&[2], &place(kind)[..], &[0]].concat(), &[body, patch]));
        out.push([&[2], &place(kind)[..], &[1], &noise(3, 900)[..]].concat());
    }
    out
}

fn selectors() -> Vec<Vec<u8>> {
    let labels = ["app", "web", "n", "5"];
    let texts = ["app=web,n>4", "app in (a,web),!x", "n notin (a),app", "a.b/c!=d", "n<6,app==web"];
    let mut out: Vec<_> =
        texts.iter().map(|text| pieces(&[0], &[&[*text], &labels[..]].concat())).collect();
    for text in ["metadata.name=a\\,b", "spec.nodeName!=x,metadata.namespace==y", "a=\\\\"] {
        out.push(pieces(&[1], &[text, "metadata.name", "a,b"]));
    }
    out
}

fn expressions() -> Vec<Vec<u8>> {
    let own = r#"{"a":1,"list":[1,2,3],"map":{"k":"v"},"s":"Rook"}"#;
    [
        "self.list.all(x, x > 0) && self.list.exists(x, x == 3)",
        "self.list.map(x, x * 2) == [2, 4, 6] || has(self.b)",
        "self.?b.orValue(5) == 5 ? self.s.split('o').join('-') : 'x'",
        "'%s-%d'.format(['a', dyn(1)]) + string(duration('1h'))",
        "self.s.matches('^[^0-9]*$') && self.s.find('[a-z]+') != ''",
        "quantity('1.5Gi').isGreaterThan(quantity('1G'))",
        "timestamp('2023-01-01T00:00:00Z').getFullYear() == 2023",
        "names.map(x, names.map(y, names.map(z, x + y + z))).size() > 2",
        "url('https://a.b:80/c?d=e').getHost() == 'a.b:80' && ip('10.0.0.1').family() == 4",
        "{'a': 1, 'b': [1u, 2.5, b'x']}.transformMap(k, v, type(v) == int)",
        "names.sort() == names && lists.range(3).sum() == 3 && sets.contains(names, ['a'])",
        "-(-1) - 2 * 3 / 4 % 5 <= 6 && !(1 in [1]) || 'a' in {'a': null}",
    ]
    .iter()
    .map(|text| [&pieces(&[], &[text])[..], own.as_bytes()].concat())
    .collect()
}

fn texts() -> Vec<Vec<u8>> {
    let all: [(u8, &[&str]); 5] = [
        (0, &["1.5Gi", "100m", "12e6", "-0.5", "1E", "9223372036854775807", "0.0000000001n"]),
        (1, &["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000001+01:00"]),
        (2, &["example.com/a-b", "a_b.c"]),
        (3, &["*/5 1-4,7 * jan mon-fri", "@daily", "Europe/Vienna", "TZ=UTC 0 0 * * 7"]),
        (4, &["^[a-z]+(x|y){1,3}\\d$", "date-time", "ipv4", "\\p{L}[[:alpha:]](?i)a"]),
    ];
    let seeds = |(kind, texts): &(u8, &[&str])| {
        texts.iter().map(|text| [&[*kind], text.as_bytes()].concat()).collect::<Vec<_>>()
    };
    all.iter().flat_map(seeds).collect()
}

fn tokens() -> Vec<Vec<u8>> {
    let given = continue_token::encode("/registry/pods/", "/registry/pods/a/b", Some(7));
    vec![
        [&[0, 0], given.as_bytes()].concat(),
        [&[1, 0], &br#"{"v":"meta.k8s.io/v1","rv":5,"start":"a/../b"}"#[..]].concat(),
        pieces(&[2, 1, 7, 3, b'x'], &["name"]),
    ]
}

fn custom() -> Vec<Vec<u8>> {
    let schema = r#"{"type":"object","properties":{"spec":{"type":"object","required":["n"],"properties":{"n":{"type":"integer","minimum":1,"default":3},"l":{"type":"array","maxItems":5,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string","pattern":"^a"}}}},"any":{"x-kubernetes-preserve-unknown-fields":true,"nullable":true},"p":{"x-kubernetes-int-or-string":true}},"x-kubernetes-validations":[{"rule":"self.n > 1","messageExpression":"'n is ' + string(self.n)"},{"rule":"self.n >= oldSelf.n"}]}}}"#;
    let object = r#"{"spec":{"n":2,"l":[{"k":"a"},{"k":"b"}],"any":{"x":[1]},"p":"5%","gone":1}}"#;
    let definition = format!(
        r#"{{"metadata":{{"name":"as.example.com"}},"spec":{{"group":"example.com","scope":"Namespaced","names":{{"plural":"as","kind":"A"}},"versions":[{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{schema}}},"subresources":{{"status":{{}},"scale":{{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}}}},"additionalPrinterColumns":[{{"name":"N","type":"integer","jsonPath":".spec.l[?(@.k==\"a\")].k"}}],"selectableFields":[{{"jsonPath":".spec.n"}}]}}]}}}}"#
    );
    let of = |mode: u8, first: &str| [&pieces(&[mode], &[first])[..], object.as_bytes()].concat();
    vec![of(0, schema), of(1, &definition)]
}
