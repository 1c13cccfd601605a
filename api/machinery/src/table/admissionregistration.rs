//! `admissionregistration.k8s.io`.

use serde_json::Value;

use super::Printer;
use super::column::{AGE, NAME, number, text};
use super::row::{self, Row};
use crate::View;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    Some(match kind {
        "MutatingAdmissionPolicy" => &MUTATING_POLICY,
        "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding" => &BINDING,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => &WEBHOOKS,
        "ValidatingAdmissionPolicy" => &VALIDATING_POLICY,
        _ => return None,
    })
}

static MUTATING_POLICY: Printer = Printer {
    columns: &[NAME, number("Mutations"), text("ParamKind"), AGE],
    cells: |row| policy(row, "mutations"),
};

static VALIDATING_POLICY: Printer = Printer {
    columns: &[NAME, number("Validations"), text("ParamKind"), AGE],
    cells: |row| policy(row, "validations"),
};

fn policy(row: &Row<'_>, rules: &str) -> Vec<Value> {
    let kind = match row.spec.get("paramKind") {
        missing if missing.is_null() => "<unset>".to_owned(),
        kind => format!("{}/{}", kind.get("apiVersion").text(), kind.get("kind").text()),
    };
    vec![row.name(), row.spec.get(rules).count().into(), kind.into(), row.age()]
}

static WEBHOOKS: Printer = Printer {
    columns: &[NAME, number("Webhooks"), AGE],
    cells: |row| vec![row.name(), row.object.get("webhooks").count().into(), row.age()],
};

static BINDING: Printer = Printer {
    columns: &[NAME, text("PolicyName"), text("ParamRef"), AGE],
    cells: |row| {
        let policy = row::text(row.spec, "policyName");
        vec![row.name(), policy, parameters(row).into(), row.age()]
    },
};

fn parameters(row: &Row<'_>) -> String {
    let reference = row.spec.get("paramRef");
    let (name, selector) = (reference.get("name").text(), reference.get("selector"));
    if !name.is_empty() {
        return format!("{}/{name}", row::or(&reference.get("namespace").text(), "*"));
    }
    if selector.is_null() { "<unset>".to_owned() } else { selector_dump(selector) }
}

/// A selector the way Go prints the struct: this is what upstream shows.
fn selector_dump(selector: View<'_>) -> String {
    let mut labels: Vec<_> = selector.get("matchLabels").members().collect();
    labels.sort_by(|(one, _), (other, _)| one.cmp(other));
    let labels: String =
        labels.iter().map(|(key, value)| format!("{key}: {},", value.text())).collect();
    let requirement = |one: View<'_>| {
        let values: Vec<_> = one.get("values").items().map(View::text).collect();
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
            one.get("key").text(),
            one.get("operator").text(),
            values.join(" ")
        )
    };
    let requirements: String = selector.get("matchExpressions").items().map(requirement).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn a_selector_of_parameters_is_shown_as_go_prints_it() {
        let full = "&LabelSelector{MatchLabels:map[string]string{a: b,z: ,},\
            MatchExpressions:[]LabelSelectorRequirement{\
            LabelSelectorRequirement{Key:m,Operator:In,Values:[q p],},\
            LabelSelectorRequirement{Key:k,Operator:Exists,Values:[],},},}";
        let selector = json!({"matchLabels": {"z": "", "a": "b"}, "matchExpressions": [
            {"key": "m", "operator": "In", "values": ["q", "p"]},
            {"key": "k", "operator": "Exists"}]});
        for (reference, shown) in [
            (json!(null), "<unset>"),
            (json!({"name": "n"}), "*/n"),
            (json!({"name": "n", "namespace": "s"}), "s/n"),
            (json!({"selector": selector, "namespace": "s"}), full),
        ] {
            let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingAdmissionPolicyBinding", "spec": {"paramRef": reference}});
            assert_eq!(cells_at_one(&binding)[2], shown);
        }
    }
}
