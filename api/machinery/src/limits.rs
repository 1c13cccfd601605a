//! Every limit of this crate in one table.

/// A request body, in bytes (upstream's 3 MiB).
pub const REQUEST_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Operations in one JSON patch.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// Bytes that the `copy` operations of one JSON patch may add.
pub const JSON_PATCH_COPY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Depth of nesting in a body: deeper ones are refused instead of using up the stack.
pub const NESTING_DEPTH_MAX: usize = 128;
/// Depth of nesting in a body, which is less: what is stored has the fields of its managers in it,
/// nested deeper than the object itself, and must be read again.
pub const BODY_DEPTH_MAX: usize = NESTING_DEPTH_MAX - 12;
/// The same of a body in YAML, whose parser takes more of the stack for each level.
pub const YAML_DEPTH_MAX: usize = 64;
/// Values that one JSON patch looks at to know how deep they are nested.
pub const JSON_PATCH_LOOKS_MAX: usize = 10_000_000;
/// Values in one YAML body: as many as fit into one of [`REQUEST_BODY_BYTES_MAX`].
pub const YAML_NODES_MAX: usize = REQUEST_BODY_BYTES_MAX / 2;
/// What a parser of YAML tells of one body: values, and where lists and maps start and end.
pub const YAML_EVENTS_MAX: usize = REQUEST_BODY_BYTES_MAX;
/// Text in one YAML body, with what aliases write again.
pub const YAML_SCALAR_BYTES_MAX: usize = 4 * REQUEST_BODY_BYTES_MAX;
/// Unknown and duplicate fields that one decode reports by name.
pub const STRICT_ERRORS_MAX: usize = 100;
/// Characters of a generated name before its random suffix.
pub const GENERATED_NAME_BASE_MAX: usize = 58;
/// Total bytes of all annotations of one object.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Total bytes of the values of one ConfigMap or Secret.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Managers of one object that came to their fields by other writes than applying.
pub const UPDATE_MANAGERS_MAX: usize = 10;
/// Bytes of the name of a field manager.
pub const FIELD_MANAGER_BYTES_MAX: usize = 128;
/// Bytes of the name of a subresource in managed fields.
pub const SUBRESOURCE_NAME_BYTES_MAX: usize = 256;
/// Depth of nesting of the schema of a custom kind.
pub const CUSTOM_SCHEMA_DEPTH_MAX: usize = 64;
/// Problems of one custom object that are told.
pub const CUSTOM_FAULTS_MAX: usize = 1000;
/// Compiled patterns of custom kinds that are kept for the next object.
pub const PATTERNS_KEPT_MAX: usize = 256;
/// Bytes that one compiled pattern may take.
pub const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Fields of one version of a custom kind that selectors may use.
pub const SELECTABLE_FIELDS_MAX: usize = 8;
/// Errors about items of one list that each show the whole list: past them the rest is left out, or
/// an answer would be as long as the square of the request.
pub const WHOLE_LIST_ERRORS_MAX: usize = 5;
/// Errors of one object that there is one of for each pair of equal items.
pub const PAIR_ERRORS_MAX: usize = 1000;
/// Names that an error lists as the possible ones.
pub const NAMES_SHOWN_MAX: usize = 100;
/// Wrong fields of one object that an answer names; upstream has no such limit, and answers a body of
/// 3 MiB with a hundred.
pub const FIELD_ERRORS_MAX: usize = 2000;
/// Cost of all rules in CEL of one object.
pub const CUSTOM_RULES_COST_MAX: u64 = 10_000_000;
/// Bytes of a message that a rule in CEL makes.
pub const RULE_MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// Rows of custom kinds that one process ever makes; they are never given back.
pub const CUSTOM_ROWS_MAX: usize = 50_000;
/// Steps of one JSONPath of a column.
pub const JSON_PATH_STEPS_MAX: usize = 64;
/// Values that one step of a JSONPath may lead to.
pub const JSON_PATH_VALUES_MAX: usize = 10_000;
