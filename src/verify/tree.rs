//! The application of the self-test: workflows that together take every road a leg can take, and write every effect into a ledger. Documents
//! are written as JSON, which is YAML too.

use serde_json::{Value, json};

use crate::fleet::Fleet;

/// Name of the application.
pub const APPLICATION: &str = "Verify";
/// Name of the SSH credential of the fleet.
pub const CREDENTIAL: &str = "verify-fleet";
/// Name of the resource constraint, and its permits.
pub const CONSTRAINT: (&str, u32) = ("verify-permits", 2);
/// Infrastructures of the fleet; the last one fails its check and goes back.
pub const FLEET: [&str; 3] = ["eu", "us", "ap"];
/// Hosts of each.
pub const HOSTS: u8 = 2;
/// Infrastructures of which only the delegate knows, one for each workflow that is started alone.
const DESKS: [&str; 6] = ["ask", "abort", "pause", "lock", "left", "right"];
/// Timeout of every step, milliseconds.
const STEP_TIMEOUT: u64 = 60_000;
/// All types of failures.
const EVERY_FAILURE: [&str; 5] =
    ["APPLICATION_ERROR", "CONNECTIVITY", "AUTHENTICATION", "VERIFICATION_FAILURE", "TIMEOUT_ERROR"];

/// All documents.
pub fn documents(fleet: &Fleet) -> Vec<(String, Vec<u8>)> {
    let mut tree = Tree::default();
    tree.add("Cloud Providers/verify.yaml", json!({ "type": "PHYSICAL_DATA_CENTER" }));
    tree.of("Index.yaml", json!({ "type": "APPLICATION" }));
    tree.of(
        "Services/app/Index.yaml",
        json!({ "type": "SERVICE", "artifactType": "OTHER", "deploymentType": "SSH" }),
    );
    tree.of("Environments/prod/Index.yaml", json!({ "type": "ENVIRONMENT", "environmentType": "PROD" }));
    for (name, hosts) in &fleet.infrastructures {
        tree.infrastructure(name, hosts.iter().map(|host| host.address.to_string()).collect());
    }
    for name in DESKS {
        tree.infrastructure(name, vec![format!("{name}.invalid")]);
    }
    let at_host = "${instance.hostName}";
    tree.command("Install", &format!("{}\nsleep 0.2", effect("install", at_host)));
    tree.command("Undo", &effect("undo", at_host));
    fleet_roll(&mut tree);
    people(&mut tree);
    turns(&mut tree);
    tree.0
}

/// A shell line that writes an effect into the ledger of its target: step, infrastructure, target, attempt folder.
fn effect(step: &str, target: &str) -> String {
    format!(
        "echo \"{step} ${{infra.name}} {target} $(basename \"$MANIFOLD_FOLDER\")\" >>\"${{workflow.variables.ledger}}/{target}.log\""
    )
}

/// The roll over the fleet: commands on hosts, a script that is tried again, a request, a barrier, permits, a check that fails on the last
/// infrastructure, and its way back.
fn fleet_roll(tree: &mut Tree) {
    let first_fails = "case \"$MANIFOLD_FOLDER\" in *-1) exit 1;; esac";
    let retry = json!({ "failureTypes": EVERY_FAILURE, "repairActionCode": "RETRY", "retryCount": 2, "retryIntervals": [1],
        "repairActionCodeAfterRetry": "ROLLBACK_WORKFLOW" });
    let skips = json!([{ "scope": "SPECIFIC_STEPS", "steps": ["never"], "assertionExpression": "${infra.name} != \"none\"" }]);
    let select = json!({ "instanceCount": 100, "instanceUnitType": "PERCENTAGE", "specificHosts": false });
    let sections = [
        section(
            "Install",
            &[step("DC_NODE_SELECT", "select", select), command("Install"), barrier("installed")],
            json!({}),
        ),
        section(
            "Migrate",
            &[script("migrate", &format!("{}\n{first_fails}", effect("migrate", "delegate")))],
            json!({ "failureStrategies": [retry], "waitInterval": 1 }),
        ),
        section(
            "Check",
            &[
                script("never", "exit 1"),
                guard("1"),
                request("get", "GET"),
                script("check", &format!("{}\n[ ${{infra.name}} != ap ]", effect("check", "delegate"))),
            ],
            json!({ "stepSkipStrategies": skips }),
        ),
    ];
    let undo = section(
        "Undo",
        &[command("Undo"), script("restore", &effect("restore", "delegate"))],
        json!({ "phaseStepNameForRollback": "Install", "statusForRollback": "SUCCESS" }),
    );
    let back = json!([{ "executionScope": "WORKFLOW", "failureTypes": EVERY_FAILURE, "repairActionCode": "ROLLBACK_WORKFLOW",
        "retryCount": 0 }]);
    tree.workflow("roll", &sections, &[undo], &back);
    let never = json!({ "skipCondition": { "type": "ALWAYS_SKIP" } });
    tree.pipeline("ship", &[stage("off", "roll", 1, never), stage("on", "roll", 2, json!({}))]);
}

/// Workflows that people have a hand in.
fn people(tree: &mut Tree) {
    let ask = json!({ "failureTypes": EVERY_FAILURE, "repairActionCode": "MANUAL_INTERVENTION", "manualInterventionTimeout": 600_000,
        "actionAfterTimeout": "END_EXECUTION" });
    let question =
        format!("{}\ncase \"$MANIFOLD_FOLDER\" in *-1) exit 1;; esac", effect("question", "delegate"));
    tree.workflow(
        "ask",
        &[
            section("Ask", &[script("question", &question)], json!({ "failureStrategies": [ask] })),
            section("Tell", &[request("post", "POST")], json!({})),
        ],
        &[],
        &json!([]),
    );
    let long = format!("{}\n{}", effect("long", "delegate"), wait_for("long"));
    tree.workflow("abort", &[section("Work", &[script("long", &long)], json!({}))], &[], &json!([]));
    let work = format!("{}\n{}", effect("work", "delegate"), wait_for("work"));
    let steps = [script("work", &work), script("after", &effect("after", "delegate"))];
    tree.workflow("pause", &[section("Work", &steps, json!({}))], &[], &json!([]));
}

/// Workflows that get in each other's way.
fn turns(tree: &mut Tree) {
    let hold = format!("{}\n{}", effect("hold-${workflow.variables.permits}", "delegate"), wait_for("hold"));
    tree.workflow("lock", &[section("Work", &[script("hold", &hold)], json!({}))], &[], &json!([]));
    let half = script("half", &format!("{}\n[ ${{infra.name}} != left ]", effect("half", "delegate")));
    let steps = [half, barrier("both"), script("beyond", &effect("beyond", "delegate"))];
    tree.workflow("meet", &[section("Work", &steps, json!({}))], &[], &json!([]));
    tree.pipeline("broken", &[stage("meet", "meet", 1, json!({}))]);
    let steps = [script("before", &effect("before", "delegate")), guard("${workflow.variables.permits}")];
    tree.workflow("greedy", &[section("Work", &steps, json!({}))], &[], &json!([]));
    let undecided =
        json!({ "skipCondition": { "type": "CONDITIONAL_SKIP", "expression": "${nothing.here} == 1" } });
    tree.pipeline("undecided", &[stage("never", "lock", 1, undecided)]);
}

/// Waits for a gate of the run, so long that only somebody who was forgotten does not come.
fn wait_for(gate: &str) -> String {
    format!(
        "for i in $(seq 600); do [ -e \"${{workflow.variables.ledger}}/{gate}.gate\" ] && exit 0; [ -d \"${{workflow.variables.ledger}}\" ] || exit 9; sleep 0.1; done; exit 9"
    )
}

fn step(kind: &str, name: &str, properties: Value) -> Value {
    let mut properties = properties;
    if let Value::Object(fields) = &mut properties {
        fields.entry("timeoutMillis").or_insert(json!(STEP_TIMEOUT));
    }
    json!({ "type": kind, "name": name, "properties": properties })
}

fn command(name: &str) -> Value {
    step("COMMAND", name, json!({ "commandName": name }))
}

fn script(name: &str, text: &str) -> Value {
    step(
        "SHELL_SCRIPT",
        name,
        json!({ "executeOnDelegate": true, "scriptType": "BASH", "scriptString": text }),
    )
}

fn barrier(identifier: &str) -> Value {
    step("BARRIER", &format!("barrier {identifier}"), json!({ "identifier": identifier }))
}

fn guard(permits: &str) -> Value {
    let name = CONSTRAINT.0;
    step(
        "RESOURCE_CONSTRAINT",
        "guard",
        json!({ "resourceConstraintName": name, "permits": permits, "holdingScope": "PHASE",
        "acquireMode": "ACCUMULATE" }),
    )
}

fn request(name: &str, method: &str) -> Value {
    let url = format!("${{workflow.variables.pages}}/{name}/${{infra.name}}");
    step("HTTP", name, json!({ "method": method, "url": url }))
}

/// A section of steps one after another, with more keys.
fn section(name: &str, steps: &[Value], more: Value) -> Value {
    let section = json!({ "type": "DEPLOY_SERVICE", "name": name, "steps": steps, "stepsInParallel": false });
    with(section, more)
}

fn stage(name: &str, workflow: &str, number: u32, more: Value) -> Value {
    let infrastructure = json!({ "entityType": "INFRASTRUCTURE_DEFINITION", "name": "infrastructure", "value": "${infrastructure}" });
    let mut variables = vec![infrastructure];
    variables.extend(TEXTS.map(|name| json!({ "name": name, "value": format!("${{{name}}}") })));
    let stage = json!({ "type": "ENV_STATE", "name": name, "parallel": false, "stageName": format!("STAGE {number}"),
        "workflowName": workflow, "workflowVariables": variables });
    with(stage, more)
}

/// Text variables of every workflow.
pub const TEXTS: [&str; 3] = ["ledger", "pages", "permits"];

fn with(object: Value, more: Value) -> Value {
    match (object, more) {
        (Value::Object(mut object), Value::Object(more)) => {
            object.extend(more);
            Value::Object(object)
        }
        (object, _) => object,
    }
}

/// Documents by path.
#[derive(Default)]
struct Tree(Vec<(String, Vec<u8>)>);

impl Tree {
    fn add(&mut self, path: &str, document: Value) {
        let text = with(document, json!({ "harnessApiVersion": "1.0" })).to_string();
        self.0.push((format!("Setup/{path}"), text.into_bytes()));
    }

    fn of(&mut self, path: &str, document: Value) {
        self.add(&format!("Applications/{APPLICATION}/{path}"), document);
    }

    fn infrastructure(&mut self, name: &str, hosts: Vec<String>) {
        let settings = json!({ "type": "PHYSICAL_DATA_CENTER_SSH", "cloudProviderName": "verify",
            "hostConnectionAttrsName": CREDENTIAL, "hostNames": hosts });
        self.of(
            &format!("Environments/prod/Infrastructure Definitions/{name}.yaml"),
            json!({ "type": "INFRA_DEFINITION", "cloudProviderType": "PHYSICAL_DATA_CENTER", "deploymentType": "SSH",
                "infrastructure": [settings] }),
        );
    }

    fn command(&mut self, name: &str, text: &str) {
        let unit = json!({ "name": "Run", "command": text, "commandUnitType": "EXEC", "deploymentType": "SSH", "scriptType": "BASH" });
        self.of(
            &format!("Services/app/Commands/{name}.yaml"),
            json!({ "type": "OTHER", "commandUnitType": "COMMAND", "commandUnits": [unit], "targetToAllEnv": true }),
        );
    }

    fn workflow(&mut self, name: &str, sections: &[Value], undo: &[Value], strategies: &Value) {
        let template = json!([{ "expression": "${infrastructure}", "fieldName": "infraDefinitionId",
            "metadata": [{ "name": "entityType", "value": "INFRASTRUCTURE_DEFINITION" }] }]);
        let mut variables =
            vec![json!({ "type": "ENTITY", "name": "infrastructure", "fixed": false, "mandatory": true })];
        variables.extend(
            TEXTS.map(|name| json!({ "type": "TEXT", "name": name, "fixed": false, "mandatory": true })),
        );
        let phase = json!({ "type": "SSH", "name": "Phase 1", "serviceName": "app", "phaseSteps": sections,
            "templateExpressions": template });
        let rollback = json!({ "type": "SSH", "name": "Rollback Phase 1", "phaseNameForRollback": "Phase 1", "serviceName": "app",
            "phaseSteps": undo });
        self.of(
            &format!("Workflows/{name}.yaml"),
            json!({ "type": "BASIC", "concurrencyStrategy": "INFRA", "envName": "prod", "templatized": true,
                "failureStrategies": strategies, "phases": [phase], "rollbackPhases": [rollback], "userVariables": variables }),
        );
    }

    fn pipeline(&mut self, name: &str, stages: &[Value]) {
        self.of(&format!("Pipelines/{name}.yaml"), json!({ "type": "PIPELINE", "pipelineStages": stages }));
    }
}
