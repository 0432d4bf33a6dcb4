//! Requests of Elasticsearch and OpenSearch clients.

use guard_policy::Profile;

use super::{asked, not_read, profile, read, rules};

#[test]
fn searches_read() {
    read(
        &profile(Profile::Elasticsearch),
        &[
            "GET /_cat/indices?v",
            "GET /logs/_search?q=x",
            "GET /logs/_search\nContent-Type: application/json\n\n{\"query\":{\"match_all\":{}}}",
            "POST /_search\n\n{}",
            "POST /logs-2024.01,metrics-*/_search?typed_keys=true\n\n{\"size\":0}",
            "POST /logs/_msearch\nContent-Type: application/x-ndjson\n\n{}\n{}\n",
            "POST /logs/_count\n\n{}",
            "POST /_all/_count",
            "POST /_mget\n\n{}",
            "POST /logs/_explain/7\n\n{}",
            "POST /logs/_validate/query\n\n{}",
            "POST /_search/scroll\n\n{\"scroll_id\":\"x\"}",
            "POST /_sql?format=txt\nContent-Type: application/json\n\n{\"query\":\"SELECT 1\"}",
            "POST /logs/_eql/search\nContent-Type: application/json\n\n{\"query\":\"any where true\"}",
            // As its own clients say it since version 8.
            "POST /_sql\nContent-Type: application/vnd.elasticsearch+json; compatible-with=8\n\n{\"query\":\"SELECT 1\"}",
            "GET /_sql\nContent-Type: application/json\n\n{\"query\":\"SELECT 1\"}",
            "POST /_query\n\n{\"query\":\"FROM logs\"}",
        ],
    );
}

#[test]
fn what_changes_does_not() {
    not_read(
        &profile(Profile::Elasticsearch),
        &[
            "POST /logs/_doc\n\n{}",
            "PUT /logs/_doc/_search\n\n{}",
            "POST /logs/_doc/_search\n\n{}",
            "PUT /logs/_search\n\n{}",
            "POST /_bulk\n\n{}",
            "POST /logs/_delete_by_query\n\n{}",
            "POST /logs/_update/_search\n\n{}",
            "POST /_scripts/_search\n\n{}",
            "DELETE /_search/scroll",
            "DELETE /logs",
            "POST /logs/x/../_search\n\n{}",
            "POST /logs%2f_doc/_search\n\n{}",
            "POST //_search\n\n{}",
            "POST /logs/_search/\n\n{}",
            "GET /logs/_doc/1\n\n{}",
            "POST /_plugins/_sql\n\n{}",
        ],
    );
    asked(
        &profile(Profile::Elasticsearch),
        &[
            ("GET /logs/_refresh", "Elasticsearch _refresh"),
            ("GET /_flush", "Elasticsearch _flush"),
            (
                "GET /logs/_reload_search_analyzers",
                "Elasticsearch _reload_search_analyzers",
            ),
            ("GET /logs/%5fflush", "Elasticsearch _flush"),
            ("GET /logs/_cache/clear", "Elasticsearch _cache/clear"),
            // Makes a token, or shows the keys by which a node joins.
            (
                "GET /_security/enroll/kibana",
                "Elasticsearch _security/enroll",
            ),
            (
                "GET /_security//enroll/node",
                "Elasticsearch _security/enroll",
            ),
        ],
    );
}

#[test]
fn what_keeps_its_result_is_no_search() {
    let keep = r#"{"query":"x","wait_for_completion_timeout":"1ms","keep_on_completion":true}"#;
    for path in ["/_sql", "/logs/_eql/search"] {
        for method in ["GET", "POST"] {
            let head = format!("{method} {path}");
            not_read(
                &profile(Profile::Elasticsearch),
                &[
                    &format!("{head}\nContent-Type: application/json\n\n{keep}"),
                    &format!(
                        "{head}\nContent-Type: application/vnd.elasticsearch+json; compatible-with=9\n\n{keep}"
                    ),
                    &format!("{head}\nContent-Type: application/yaml\n\nquery: x"),
                    &format!("{head}\n\n{keep}"),
                    &format!("{head}?source=%7B%7D&source_content_type=application/json"),
                    &format!("{head}?keep_on_completion=true"),
                ],
            );
        }
    }
}

/// CrateDB runs any statement that is sent to `/_sql`.
#[test]
fn sql_reads_where_elasticsearch_answers() {
    let sql = "POST /_sql\nContent-Type: application/json\n\n{\"query\":\"SELECT 1\"}";
    read(&profile(Profile::Elasticsearch), &[sql]);
    not_read(&rules(""), &[sql, "POST /_query\n\n{}"]);
}
