//! `networking.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row::{self, NAMED_MAX, Row};

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "Ingress" => &INGRESS,
        "IngressClass" => &INGRESS_CLASS,
        "IPAddress" => &IP_ADDRESS,
        "NetworkPolicy" => &NETWORK_POLICY,
        "ServiceCIDR" => &SERVICE_CIDR,
        _ => return None,
    })
}

static INGRESS: Printer = Printer {
    columns: &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE],
    cells: |row| {
        let ports = if row.spec.get("tls").count() == 0 { "80" } else { "80, 443" };
        vec![
            row.name(),
            row::given(row.spec, "ingressClassName", "<none>"),
            hosts(row).into(),
            row::load_balancer(row.status).into(),
            ports.into(),
            row.age(),
        ]
    },
};

/// Hosts of the rules; rules without one count when more are left than are named.
fn hosts(row: &Row<'_>) -> String {
    let rules = row.spec.get("rules");
    let mut named = Vec::new();
    for rule in rules.items() {
        if named.len() == NAMED_MAX {
            let more = rules.count() - NAMED_MAX;
            return format!("{} + {more} more...", named.join(","));
        }
        let host = rule.get("host").text();
        if !host.is_empty() {
            named.push(host);
        }
    }
    row::or(&named.join(","), "*")
}

static INGRESS_CLASS: Printer = Printer {
    columns: &[NAME, text("Controller"), text("Parameters"), AGE],
    cells: |row| {
        let name = row.metadata.get("name").text();
        let default = if row.annotation(DEFAULT_CLASS).is("true") { " (default)" } else { "" };
        vec![
            format!("{name}{default}").into(),
            row::text(row.spec, "controller"),
            parameters(row).into(),
            row.age(),
        ]
    },
};

fn parameters(row: &Row<'_>) -> String {
    let parameters = row.spec.get("parameters");
    if parameters.is_null() {
        return "<none>".to_owned();
    }
    let (kind, group) = (parameters.get("kind").text(), parameters.get("apiGroup"));
    let dot = if group.is_null() { "" } else { "." };
    format!("{kind}{dot}{}/{}", group.text(), parameters.get("name").text())
}

static IP_ADDRESS: Printer = Printer {
    columns: &[NAME, text("ParentRef")],
    // Upstream sends the age too, without a column for it.
    cells: |row| vec![row.name(), parent(row).into(), row.age()],
};

/// `resource.group/namespace/name`.
fn parent(row: &Row<'_>) -> String {
    let parent = row.spec.get("parentRef");
    if parent.is_null() {
        return "<none>".to_owned();
    }
    let part = |sign: &str, key: &str| match parent.get(key).text() {
        empty if empty.is_empty() => String::new(),
        text => format!("{sign}{text}"),
    };
    let resource = format!("{}{}", parent.get("resource").text(), part(".", "group"));
    let name = parent.get("name").text();
    format!("{}{}/{name}", resource.to_lowercase(), part("/", "namespace"))
}

static NETWORK_POLICY: Printer = Printer {
    columns: &[NAME, text("Pod-Selector"), AGE],
    cells: |row| vec![row.name(), row::selector(row.spec.get("podSelector")), row.age()],
};

static SERVICE_CIDR: Printer = Printer {
    columns: &[NAME, text("CIDRs"), AGE],
    cells: |row| vec![row.name(), row::join_texts(row.spec.get("cidrs")).into(), row.age()],
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn rules_without_a_host_count_only_behind_those_that_are_named() {
        for (hosts, shown) in [
            (vec![], "*"),
            (vec!["", ""], "*"),
            (vec!["", "a"], "a"),
            (vec!["a", "b", "c"], "a,b,c"),
            (vec!["", "a", "b", "c", ""], "a,b,c + 2 more..."),
        ] {
            let rules: Vec<_> = hosts.iter().map(|host| json!({"host": host})).collect();
            let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "spec": {"rules": rules}});
            assert_eq!(cells_at_one(&ingress)[2], shown, "{hosts:?}");
        }
    }

    #[test]
    fn an_address_shows_its_parent_and_an_age_without_a_column() {
        for (parent, shown) in [
            (json!({"resource": "Services", "namespace": "n", "name": "S"}), "services/n/S"),
            (json!({"group": "A.b", "resource": "things", "name": "t"}), "things.a.b/t"),
            (json!(null), "<none>"),
        ] {
            let address = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
                "metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}});
            assert_eq!(json!(cells_at_one(&address)), json!(["10.0.0.1", shown, "<unknown>"]));
        }
    }
}
