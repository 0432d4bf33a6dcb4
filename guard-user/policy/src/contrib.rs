//! Functions of extensions that come with `PostgreSQL` and only compute or read: what a rule names by the extension.

/// Name of the list, and the functions, sorted. Those of which `PostgreSQL` has functions of the same name pass anyway; those that
/// only the server calls are left out. Some are volatile, for they give something else each time: none of them changes anything.
const LISTS: &[(&str, &[&str])] = &[
    (
        "@citext",
        &[
            "citext",
            "citext_cmp",
            "citext_eq",
            "citext_ge",
            "citext_gt",
            "citext_hash",
            "citext_hash_extended",
            "citext_larger",
            "citext_le",
            "citext_lt",
            "citext_ne",
            "citext_pattern_cmp",
            "citext_pattern_ge",
            "citext_pattern_gt",
            "citext_pattern_le",
            "citext_pattern_lt",
            "citext_smaller",
            "citextsend",
        ],
    ),
    (
        "@hstore",
        &[
            "akeys",
            "avals",
            "defined",
            "delete",
            "each",
            "exist",
            "exists_all",
            "exists_any",
            "fetchval",
            "hs_concat",
            "hs_contained",
            "hs_contains",
            "hstore",
            "hstore_cmp",
            "hstore_eq",
            "hstore_ge",
            "hstore_gt",
            "hstore_hash",
            "hstore_hash_extended",
            "hstore_le",
            "hstore_lt",
            "hstore_ne",
            "hstore_send",
            "hstore_to_array",
            "hstore_to_json",
            "hstore_to_json_loose",
            "hstore_to_jsonb",
            "hstore_to_jsonb_loose",
            "hstore_to_matrix",
            "hstore_version_diag",
            "isdefined",
            "isexists",
            "populate_record",
            "skeys",
            "slice",
            "slice_array",
            "svals",
            "tconvert",
        ],
    ),
    (
        "@intarray",
        &[
            "_int_contained",
            "_int_contains",
            "_int_different",
            "_int_inter",
            "_int_overlap",
            "_int_same",
            "_int_union",
            "boolop",
            "icount",
            "idx",
            "intarray_del_elem",
            "intarray_push_array",
            "intarray_push_elem",
            "intset",
            "intset_subtract",
            "intset_union_elem",
            "rboolop",
            "sort",
            "sort_asc",
            "sort_desc",
            "subarray",
            "uniq",
        ],
    ),
    (
        "@ltree",
        &[
            "_lt_q_regex",
            "_lt_q_rregex",
            "_ltq_extract_regex",
            "_ltq_regex",
            "_ltq_rregex",
            "_ltree_extract_isparent",
            "_ltree_extract_risparent",
            "_ltree_isparent",
            "_ltree_r_isparent",
            "_ltree_r_risparent",
            "_ltree_risparent",
            "_ltxtq_exec",
            "_ltxtq_extract_exec",
            "_ltxtq_rexec",
            "index",
            "lca",
            "lquery_send",
            "lt_q_regex",
            "lt_q_rregex",
            "ltq_regex",
            "ltq_rregex",
            "ltree2text",
            "ltree_addltree",
            "ltree_addtext",
            "ltree_cmp",
            "ltree_eq",
            "ltree_ge",
            "ltree_gt",
            "ltree_isparent",
            "ltree_le",
            "ltree_lt",
            "ltree_ne",
            "ltree_risparent",
            "ltree_send",
            "ltree_textadd",
            "ltxtq_exec",
            "ltxtq_rexec",
            "ltxtq_send",
            "nlevel",
            "subltree",
            "subpath",
            "text2ltree",
        ],
    ),
    (
        "@pgcrypto",
        &[
            "armor",
            "crypt",
            "dearmor",
            "decrypt",
            "decrypt_iv",
            "digest",
            "encrypt",
            "encrypt_iv",
            "gen_random_bytes",
            "gen_salt",
            "hmac",
            "pgp_armor_headers",
            "pgp_key_id",
            "pgp_pub_decrypt",
            "pgp_pub_decrypt_bytea",
            "pgp_pub_encrypt",
            "pgp_pub_encrypt_bytea",
            "pgp_sym_decrypt",
            "pgp_sym_decrypt_bytea",
            "pgp_sym_encrypt",
            "pgp_sym_encrypt_bytea",
        ],
    ),
    (
        "@uuid-ossp",
        &[
            "uuid_generate_v1",
            "uuid_generate_v1mc",
            "uuid_generate_v3",
            "uuid_generate_v4",
            "uuid_generate_v5",
            "uuid_nil",
            "uuid_ns_dns",
            "uuid_ns_oid",
            "uuid_ns_url",
            "uuid_ns_x500",
        ],
    ),
];

/// The names of the lists.
pub fn names() -> impl Iterator<Item = &'static str> {
    LISTS.iter().map(|(name, _)| *name)
}

/// The functions of a list; none where there is no such list.
#[must_use]
pub fn functions(list: &str) -> Option<&'static [&'static str]> {
    let found = LISTS.iter().find(|(name, _)| *name == list);
    found.map(|(_, functions)| *functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(names().is_sorted());
        for name in names() {
            let functions = functions(name).unwrap();
            assert!(functions.is_sorted_by(|a, b| a < b), "{name}");
        }
        assert_eq!(functions("@dblink"), None);
        assert_eq!(functions("hstore"), None);
    }
}
