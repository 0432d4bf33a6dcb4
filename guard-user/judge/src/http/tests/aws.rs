//! Requests of the AWS command line and SDKs.

use guard_policy::Profile;

use super::{Judgement, RequestHead, Wire, asked, judge, not_read, profile, read};

fn form(body: &str) -> String {
    format!("POST /\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\n\n{body}")
}

fn json(target: &str) -> String {
    format!("POST /\nContent-Type: application/x-amz-json-1.1\nX-Amz-Target: {target}\n\n{{}}")
}

#[test]
fn reading_actions_read() {
    let rules = profile(Profile::Aws);
    for action in [
        "DescribeInstances",
        "GetCallerIdentity",
        "ListUsers",
        "BatchGetImage",
        "LookupEvents",
    ] {
        read(
            &rules,
            &[
                &form(&format!("Action={action}&Version=2016-11-15")),
                &json(&format!("Svc_1.{action}")),
            ],
        );
    }
    read(
        &rules,
        &[
            &json("DynamoDB_20120810.Query"),
            &json("DynamoDB_20120810.GetItem"),
            &json("secretsmanager.GetSecretValue"),
            "GET /?Action=DescribeInstances&Version=2016-11-15",
            "GET /bucket/key",
            "POST /service/GraniteServiceVersion20100801/operation/ListMetrics\nsmithy-protocol: rpc-v2-cbor\nContent-Type: application/cbor\n\nx",
        ],
    );
}

#[test]
fn others_do_not_and_are_named() {
    asked(
        &profile(Profile::Aws),
        &[
            (
                &form("Action=TerminateInstances&InstanceId.1=i-1"),
                "AWS TerminateInstances",
            ),
            (&form("Action=GetSessionToken"), "AWS GetSessionToken"),
            (&form("Action=AssumeRole"), "AWS AssumeRole"),
            (&form("Action=Getaway"), "AWS Getaway"),
            (&json("DynamoDB_20120810.DeleteTable"), "AWS DeleteTable"),
            (&json("Other.Query"), "AWS Query"),
            (
                &json("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"),
                "AWS GetAuthorizationToken",
            ),
            (&json("AWSCognitoIdentityService.GetId"), "AWS GetId"),
            (
                &json("AWSCognitoIdentityService.GetCredentialsForIdentity"),
                "AWS GetCredentialsForIdentity",
            ),
            (
                &json("Lightsail_20161128.GetInstanceAccessDetails"),
                "AWS GetInstanceAccessDetails",
            ),
            (&json("GameLift.GetInstanceAccess"), "AWS GetInstanceAccess"),
            (
                &json("AWSStepFunctions.GetActivityTask"),
                "AWS GetActivityTask",
            ),
            (
                &json("CodePipeline_20150709.GetJobDetails"),
                "AWS GetJobDetails",
            ),
            ("GET /?Action=TerminateInstances", "AWS TerminateInstances"),
            ("GET /?session", "AWS CreateSession"),
            ("GET /bucket/?session=", "AWS CreateSession"),
            (
                "GET /?Action=DescribeInstances&action=TerminateInstances",
                "AWS TerminateInstances",
            ),
            (
                "POST /service/S/operation/DeleteAlarms\nsmithy-protocol: rpc-v2-cbor\n\nx",
                "AWS DeleteAlarms",
            ),
        ],
    );
}

#[test]
fn what_says_two_things_is_asked_about() {
    let with = |wire: String, header: &str| wire.replacen('\n', &format!("\n{header}\n"), 1);
    not_read(
        &profile(Profile::Aws),
        &[
            &form("Action=DescribeInstances&Action=TerminateInstances"),
            &form("Action=DescribeInstances;Action=TerminateInstances"),
            &form("Action=DescribeInstances&%41ction=TerminateInstances"),
            &form("Action=DescribeInstances%00"),
            &form("Version=1"),
            &form("Action=DescribeInstances").replace("POST /", "POST /?Action=TerminateInstances"),
            &form("Action=DescribeInstances").replace("POST /", "POST /queue"),
            &with(
                form("Action=DescribeInstances"),
                "X-Amz-Target: S.DeleteTable",
            ),
            &with(
                form("Action=DescribeInstances"),
                "X_Amz_Target: S.DeleteTable",
            ),
            &with(form("Action=ListX"), "Smithy_Protocol: rpc-v2-cbor"),
            &with(json("S.ListX"), "X_Amz_Target: S.DeleteX"),
            &with(json("S.ListX"), "content_type: application/json"),
            &json("S.ListX").replace("X-Amz-Target", "X_Amz_Target"),
            &with(form("Action=DescribeInstances"), "Content_Encoding: gzip"),
            &with(form("Action=DescribeInstances"), "Content-Encoding: gzip"),
            &with(json("S.ListX"), "X-Amz-Target: S.DeleteX"),
            &with(json("S.ListX"), "smithy-protocol: rpc-v2-cbor"),
            &json("S.ListX").replace("POST /", "POST /?Action=DeleteX"),
            &json("S.ListX").replace("x-amz-json-1.1", "json"),
            "POST /service/S/operation/ListX\n\nx",
            "POST /service/S/operation/ListX?delete\nsmithy-protocol: rpc-v2-cbor\n\nx",
            // An S3 looks at the query alone, and deletes what the body lists.
            &deletes("application/x-amz-json-1.1\nX-Amz-Target: a.GetX", ""),
            &deletes("application/x-www-form-urlencoded", "<!--&Action=GetX&-->"),
            // Without the query: what is no form, and no JSON.
            &deletes("application/x-www-form-urlencoded", "<!--&Action=GetX&-->")
                .replace("/?delete", "/"),
            &json("S.GetX").replace("{}", "Action=TerminateInstances"),
            &json("DynamoDB_20120810.Query").replace("{}", "Action=TerminateInstances"),
            &json("S.GetX").replace("{}", ""),
            &form("Action=ListX").replace("POST /", "POST /?delete"),
            "POST /bucket?delete\n\n<Delete/>",
        ],
    );
}

/// What asks an S3 to delete, with what else is said about it.
fn deletes(content_type: &str, before: &str) -> String {
    let body = "<Delete><Object><Key>k</Key></Object></Delete>";
    format!("POST /?delete\nContent-Type: {content_type}\n\n{before}{body}")
}

#[test]
fn what_customers_serve_takes_no_action_by_a_header() {
    let at = |host: &str, wire: &str| wire.replacen('\n', &format!("\nHost: {host}\n"), 1);
    let reading = [
        json("S.ListX"),
        form("Action=DescribeInstances"),
        "POST /service/S/operation/ListX\nsmithy-protocol: rpc-v2-cbor\n\nx".to_owned(),
        "POST /model/m/invoke\n\n{}".to_owned(),
    ];
    for host in [
        "id.execute-api.eu-west-1.amazonaws.com",
        "vpce-1.execute-api.eu-west-1.vpce.amazonaws.com",
        "b.s3.eu-west-1.amazonaws.com",
        "b.s3-eu-west-1.amazonaws.com",
        "S3.amazonaws.com:443",
        "b.s3.eu-west-1.amazonaws.com.",
        "b.s3-website.eu-west-1.amazonaws.com",
        "lb.eu-west-1.elb.amazonaws.com",
        "ec2-192-0-2-1.compute-1.amazonaws.com",
        "id.lambda-url.eu-west-1.on.aws",
        "vpce-1.vpce-svc-2.eu-west-1.vpce.amazonaws.com",
        "shop.cn-north-1.eb.amazonaws.com.cn",
        "search-d.eu-west-1.es.amazonaws.com",
    ] {
        for wire in &reading {
            not_read(&profile(Profile::Aws), &[&at(host, wire)]);
        }
    }
    for host in [
        "ec2.eu-west-1.amazonaws.com",
        "es.eu-west-1.amazonaws.com",
        "dynamodb.us-east-1.amazonaws.com",
        "192.0.2.7",
    ] {
        for wire in &reading {
            read(&profile(Profile::Aws), &[&at(host, wire)]);
        }
    }
}

#[test]
fn in_clear_text_no_host_is_believed() {
    let rules = profile(Profile::Aws);
    for host in ["sts.amazonaws.com", "localhost:4566"] {
        let wire = json("S.GetX").replacen('\n', &format!("\nHost: {host}\n"), 1);
        let wire = Wire::of(&wire);
        for is_secure in [true, false] {
            let request = RequestHead {
                is_secure,
                ..wire.request()
            };
            let judged = judge(&rules, &request, Some(&wire.body));
            assert_eq!(
                matches!(judged, Judgement::Read { .. }),
                is_secure,
                "{host}"
            );
        }
    }
}
