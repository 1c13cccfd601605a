//! `discovery.k8s.io`.

use super::Printer;
use super::column::{AGE, NAME, text};
use super::row;
use crate::View;

pub(super) fn printer(kind: &str) -> Option<&'static Printer> {
    (kind == "EndpointSlice").then_some(&ENDPOINT_SLICE)
}

static ENDPOINT_SLICE: Printer = Printer {
    columns: &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE],
    cells: |row| {
        let ports: Vec<String> = row.object.get("ports").items().map(port).collect();
        let endpoints = row.object.get("endpoints");
        let addresses: Vec<String> = endpoints
            .items()
            .flat_map(|one| one.get("addresses").items())
            .map(|address| address.text().into_owned())
            .collect();
        vec![
            row.name(),
            row::text(row.object, "addressType"),
            row::some_of(&ports, "<unset>").into(),
            row::some_of(&addresses, "<unset>").into(),
            row.age(),
        ]
    },
};

fn port(port: View<'_>) -> String {
    match (port.get("port").number(), port.get("name")) {
        (Some(number), _) => number.to_string(),
        (None, name) if name.is_null() => "*".to_owned(),
        (None, name) => name.text().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::table::cells_at_one;

    #[test]
    fn a_slice_shows_what_it_has_and_that_it_has_nothing() {
        let kind = ("discovery.k8s.io/v1", "EndpointSlice");
        let slice = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": {"name": "s"},
            "addressType": "IPv4", "ports": [{"port": 6443}, {"name": "a"}, {}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]});
        let cells = cells_at_one(&slice);
        assert_eq!(cells[1..4], [json!("IPv4"), json!("6443,a,*"), json!("10.0.0.1,10.0.0.2")]);
        let empty = cells_at_one(&json!({"apiVersion": kind.0, "kind": kind.1}));
        assert_eq!(empty[2..4], [json!("<unset>"), json!("<unset>")]);
    }
}
