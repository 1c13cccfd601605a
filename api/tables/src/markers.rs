//! The machine-readable markers (`+listType=map` …) inside doc comments.

/// What the markers of one field say.
#[derive(Default)]
pub(crate) struct Markers {
    pub(crate) optional: bool,
    pub(crate) list_type: Option<String>,
    pub(crate) list_map_keys: Vec<String>,
    pub(crate) map_type: Option<String>,
    pub(crate) patch_strategy: Option<String>,
    pub(crate) patch_merge_key: Option<String>,
    pub(crate) default: Option<String>,
}

impl Markers {
    pub(crate) fn parse(docs: &[String]) -> Self {
        let mut markers = Self::default();
        for line in docs.iter().flat_map(|doc| doc.lines()) {
            let line = line.trim().replace('\\', "");
            let Some(marker) = line.strip_prefix('+') else { continue };
            let (name, value) = marker.split_once('=').unwrap_or((marker, ""));
            let value = value.trim().to_owned();
            match name {
                "optional" => markers.optional = true,
                "listType" => markers.list_type = Some(value),
                "listMapKey" => markers.list_map_keys.push(value),
                "mapType" | "structType" => markers.map_type = Some(value),
                "patchStrategy" => markers.patch_strategy = Some(value),
                "patchMergeKey" => markers.patch_merge_key = Some(value),
                "default" => markers.default = Some(value),
                _ => {}
            }
        }
        markers
    }
}
