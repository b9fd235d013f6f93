//! Tasks on clusters: what they are told, and what later steps make of what they said.

use std::collections::BTreeMap;

use manifold_model::event::EventKind;
use manifold_model::kind::Player;
use manifold_model::kubernetes::*;
use manifold_model::plan::{FilePlan, ManifestsPlan, Plan, StepPlan, ValuesPlan};
use manifold_model::task::{FileSource, Outcome, OutputValue, Payload, Task, TaskResult};
use manifold_model::{FailureClass, Hole, Piece, Rendered, Status};
use serde_json::{Value, json};

use crate::build::*;
use crate::runner::*;

fn on_cluster(name: &str, kind: &str, properties: Value) -> StepPlan {
    StepPlan { deploys: true, ..step(name, kind, Player::Delegate, properties) }
}

fn file(path: &str, spans: &[&str]) -> FilePlan {
    let spans = spans.iter().map(|span| (*span).to_owned()).collect();
    FilePlan { document: format!("doc/{path}"), path: path.to_owned(), spans }
}

/// One phase of these steps and this rollback on the cluster `hub`.
fn plan_with(steps: Vec<StepPlan>, rollback: Vec<StepPlan>) -> Plan {
    let strategies = vec![strategy(manifold_model::entity::RepairAction::RollbackWorkflow)];
    let phase = phase("P", vec![section("S", steps)], vec![section("U", rollback)]);
    let mut plan = plan(workflow(vec![phase], strategies));
    let infrastructure = &mut plan.infrastructures[0];
    infrastructure.item_type = "DIRECT_KUBERNETES".to_owned();
    infrastructure.cloud_provider = Some("hub".to_owned());
    infrastructure.properties = json!({"namespace": "shop-${infra.name}"}).as_object().unwrap().clone();
    infrastructure.cloud_provider_properties =
        json!({"masterUrl": "https://hub", "serviceAccountToken": "secretName:hub-token"})
            .as_object()
            .unwrap()
            .clone();
    plan.services[0].manifests = Some(ManifestsPlan {
        files: vec![file(
            "web.yaml",
            &["${service.name}", "${serviceVariable.token}", "${a:-${env.name}}", "${unknown.x}"],
        )],
        values: vec![file("values.yaml", &["${artifact.buildNo}"])],
        skip_versioning: true,
        templated: false,
    });
    let values = |service_name: Option<&str>, path| ValuesPlan {
        service_name: service_name.map(str::to_owned),
        file: file(path, &[]),
    };
    plan.environments[0].values =
        vec![values(Some("cart"), "own"), values(Some("mail"), "other"), values(None, "all")];
    plan
}

fn rollout() -> StepPlan {
    on_cluster("Rollout", kind::ROLLOUT, json!({}))
}

fn kubernetes(task: &Task) -> &KubernetesTask {
    match &task.payload {
        Payload::Kubernetes(task) => task,
        other => panic!("{other:?}"),
    }
}

fn property(plan: &mut Plan, key: &str, value: &str) {
    plan.infrastructures[0].properties.insert(key.to_owned(), value.into());
}

/// Succeeds with outputs by step name.
fn saying(
    said: &'static [(&'static str, &'static str, &'static str)],
) -> impl FnMut(&Task) -> Option<Outcome> {
    move |task| {
        let name = &task.step.as_ref().unwrap().name;
        let mut outcome = Outcome::succeeded();
        for (_, key, value) in said.iter().filter(|(step, ..)| step == name) {
            let output = match value.strip_prefix("sealed:") {
                Some(sealed) => {
                    OutputValue { value: String::new(), secret: true, sealed: Some(sealed.into()) }
                }
                None => OutputValue { value: (*value).to_owned(), secret: false, sealed: None },
            };
            outcome.outputs.insert((*key).to_owned(), output);
        }
        if name.contains("fails") {
            outcome.result = failed(FailureClass::Application).result;
        }
        Some(outcome)
    }
}

#[test]
fn a_rollout_is_told_its_cluster_its_release_and_what_stands_for_every_expression() {
    let mut runner = Runner::new(plan_with(vec![rollout()], vec![]));
    runner.run();
    assert_eq!(runner.status(), Status::Success, "{:?}", runner.row().failure);
    let task = kubernetes(&runner.tasks[0]);
    assert_eq!(task.cluster.name, "hub");
    assert_eq!(task.cluster.access.secrets(), ["secretName:hub-token"]);
    assert_eq!(task.namespace, "shop-east");
    let id = task.release.strip_prefix("release-").unwrap();
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
    assert_eq!(task.action, KubernetesAction::Rollout { skip_dry_run: false, export: false });
    let manifests = &task.manifests;
    assert!(manifests.skip_versioning && !manifests.templated);
    let paths = |files: &[TextFile]| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&manifests.files), ["web.yaml"]);
    assert_eq!(paths(&manifests.values), ["values.yaml", "all", "own"]);
    assert_eq!(
        manifests.files[0].source,
        FileSource::Document { path: "doc/web.yaml".to_owned(), revision: 7 }
    );
    let secret = Rendered(vec![Piece::Hole(Hole::Secret { name: "api-token".to_owned() })]);
    let expected = BTreeMap::from([
        ("${service.name}".to_owned(), Rendered::text("cart")),
        ("${serviceVariable.token}".to_owned(), secret),
        ("${a:-${env.name}}".to_owned(), Rendered::text("${a:-prod}")),
        ("${artifact.buildNo}".to_owned(), Rendered::text("2.0")),
    ]);
    assert_eq!(manifests.spans, expected);
    let values = runner.events.iter().find_map(|event| match &event.kind {
        EventKind::StepStarted { values, .. } => Some(values.clone()),
        _ => None,
    });
    let values = values.unwrap();
    assert_eq!(values["service.name"], "cart");
    assert_eq!(values["serviceVariable.token"], "******");
}

#[test]
fn release_names_may_hold_what_the_mapping_says_and_must_be_names() {
    for (namespace, release, expected) in [
        ("shop", "", "release-"),
        ("shop", "r-${infra.kubernetes.infraId}", "r-"),
        ("shop", "${infra.name}-${infra.helm.shortId}", "east-"),
        ("shop", "${infra.kubernetes.namespace}-x", "shop-x"),
        ("${service.name}", "web", "web"),
        ("Shop", "web", "KUBERNETES_NAME_INVALID"),
        ("shop", "${app.name}", "KUBERNETES_NAME_INVALID"),
        ("shop", "${nothing.x}", "EXPRESSION_UNRESOLVED"),
        ("${x.y}", "web", "EXPRESSION_UNRESOLVED"),
        ("", "web", "INFRASTRUCTURE_INCOMPLETE"),
    ] {
        let mut plan = plan_with(vec![rollout()], vec![]);
        property(&mut plan, "namespace", namespace);
        property(&mut plan, "releaseName", release);
        let mut runner = Runner::new(plan);
        runner.run();
        match runner.tasks.first() {
            Some(task) => assert!(kubernetes(task).release.starts_with(expected), "{release}"),
            None => assert_eq!(runner.code(), expected, "{namespace} {release}"),
        }
    }
}

#[test]
fn steps_become_actions() {
    let made = |kind: &str, properties: Value, expected: KubernetesAction| {
        let mut runner = Runner::new(plan_with(vec![on_cluster("s", kind, properties.clone())], vec![]));
        runner.run();
        assert_eq!(runner.status(), Status::Success, "{properties} {:?}", runner.row().failure);
        let task = kubernetes(&runner.tasks[0]);
        assert_eq!(task.action, expected, "{properties}");
        task.manifests.files.len()
    };
    use KubernetesAction::*;
    assert_eq!(
        made(kind::ROLLOUT, json!({"skipDryRun": true}), Rollout { skip_dry_run: true, export: false }),
        1
    );
    made(kind::ROLLOUT, json!({"exportManifests": "true"}), Rollout { skip_dry_run: false, export: true });
    assert_eq!(made(kind::ROLLOUT_ROLLBACK, json!({}), RollbackRollout {}), 0);
    let canary = |instances| Canary { instances, skip_dry_run: false, export: false };
    assert_eq!(made(kind::CANARY, json!({}), canary(Instances::Count(1))), 1);
    made(kind::CANARY, json!({"instances": 2, "instanceUnitType": "COUNT"}), canary(Instances::Count(2)));
    made(
        kind::CANARY,
        json!({"instances": "50", "instanceUnitType": "PERCENTAGE"}),
        canary(Instances::Percentage(50)),
    );
    made(kind::BLUE_GREEN, json!({}), BlueGreen { skip_dry_run: false, export: false });
    let (service1, service2) = ("cart-a".to_owned(), "b".to_owned());
    made(
        kind::SWAP,
        json!({"service1": "${service.name}-a", "service2": "b"}),
        Swap { service1, service2, undo: false },
    );
    let apply = Apply {
        files: vec!["a.yaml".to_owned(), "cart/b.yaml".to_owned()],
        skip_dry_run: false,
        skip_steady_state: true,
        skip_rendering: true,
    };
    let written = json!({"filePaths": "a.yaml, ${service.name}/b.yaml", "skipSteadyStateCheck": true, "skipRendering": true});
    assert_eq!(made(kind::APPLY, written, apply), 1);
    let scale = Scale {
        workload: "Deployment/cart".to_owned(),
        instances: Instances::Count(0),
        skip_steady_state: false,
    };
    made(kind::SCALE, json!({"workload": "Deployment/${service.name}", "instances": "0"}), scale);
    let names = vec!["Deployment/cart".to_owned(), "Job/x".to_owned()];
    let named = DeleteResources::Named { names };
    assert_eq!(
        made(kind::DELETE, json!({"resources": "Deployment/cart, Job/x"}), Delete { resources: named }),
        0
    );
    let all = DeleteResources::Release { namespaces: true };
    made(
        kind::DELETE,
        json!({"resources": "*", "deleteNamespacesForRelease": true}),
        Delete { resources: all },
    );
    let files = DeleteResources::Files { files: vec!["web.yaml".to_owned()] };
    assert_eq!(made(kind::DELETE, json!({"resources": "web.yaml"}), Delete { resources: files }), 1);
}

#[test]
fn settings_that_say_nothing_usable_fail_the_step() {
    for (kind, properties, code) in [
        (kind::CANARY, json!({"instances": "some"}), "STEP_SETTING_INVALID"),
        (kind::CANARY, json!({"instances": "1", "instanceUnitType": "HALF"}), "STEP_SETTING_INVALID"),
        (kind::SCALE, json!({"workload": "Deployment/x"}), "STEP_SETTING_INVALID"),
        (kind::SWAP, json!({"service1": "a"}), "STEP_SETTING_INVALID"),
        (kind::DELETE, json!({"resources": "a.yaml, Job/x"}), "STEP_SETTING_INVALID"),
        (kind::DELETE, json!({"resources": "${k8s.canaryWorkload}"}), "EXPRESSION_UNRESOLVED"),
        (kind::SCALE, json!({"workload": "${secrets.getValue('x')}", "instances": 1}), "SETTING_NOT_KNOWN"),
        (kind::ROLLOUT, json!({"inheritManifests": true}), "MANIFESTS_NOT_EXPORTED"),
    ] {
        let mut runner = Runner::new(plan_with(vec![on_cluster("s", kind, properties.clone())], vec![]));
        runner.run();
        assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, code), "{properties}");
        assert!(runner.tasks.is_empty());
    }
}

#[test]
fn a_cluster_that_only_its_delegate_reaches_is_for_that_delegate() {
    let mut plan = plan_with(vec![on_cluster("s", kind::ROLLOUT, json!({"delegateSelectors": "b"}))], vec![]);
    plan.infrastructures[0].cloud_provider_properties =
        json!({"useKubernetesDelegate": true, "delegateName": "near", "delegateSelectors": ["b"]})
            .as_object()
            .unwrap()
            .clone();
    plan.workflows[0].phases[0].sections[0].steps[0].capabilities = vec!["helm".to_owned()];
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!(runner.tasks[0].selectors, ["b", "near"]);
    assert_eq!(runner.tasks[0].capabilities, ["helm"]);
    assert_eq!(kubernetes(&runner.tasks[0]).cluster.access, ClusterAccess::Delegate {});
    assert!(kubernetes(&runner.tasks[0]).manifests.templated);

    let mut plan = plan_with(vec![rollout()], vec![]);
    plan.infrastructures[0].cloud_provider_properties.clear();
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!(runner.code(), "CLOUD_PROVIDER_INCOMPLETE");
}

#[test]
fn what_tasks_said_is_known_to_later_steps() {
    let steps = vec![
        on_cluster("stage", kind::BLUE_GREEN, json!({})),
        on_cluster(
            "swap",
            kind::SWAP,
            json!({"service1": "${k8s.primaryServiceName}", "service2": "${k8s.stageServiceName}"}),
        ),
        step(
            "say fails",
            "SHELL_SCRIPT",
            Player::Delegate,
            json!({"scriptString": "${k8s.stageServiceName} ${k8s.canaryWorkload}"}),
        ),
    ];
    let undo = on_cluster(
        "undo",
        kind::SWAP,
        json!({"service1": "${k8s.primaryServiceName}", "service2": "${k8s.stageServiceName}"}),
    );
    let canary = on_cluster("canary", kind::DELETE, json!({"resources": "${k8s.canaryWorkload}"}));
    let said: &'static [_] =
        &[("stage", output::PRIMARY_SERVICE, "web"), ("stage", output::STAGE_SERVICE, "web-stage")];
    let mut runner = Runner::new(plan_with(steps, vec![undo, canary])).script(saying(said));
    runner.run();
    assert_eq!(runner.issued, ["stage#1", "swap#1", "say fails#1", "undo#1"]);
    let swap =
        |undo| KubernetesAction::Swap { service1: "web".to_owned(), service2: "web-stage".to_owned(), undo };
    assert_eq!(kubernetes(&runner.tasks[1]).action, swap(false));
    assert_eq!(kubernetes(&runner.tasks[3]).action, swap(true));
    let Payload::Script(script) = &runner.tasks[2].payload else { panic!() };
    assert_eq!(script.script.known().unwrap(), "web-stage ${k8s.canaryWorkload}");
    assert_eq!(runner.step_status("canary"), Status::Skipped);
}

#[test]
fn a_canary_that_may_be_there_is_never_passed_over() {
    let delete = || on_cluster("delete", kind::DELETE, json!({"resources": "${k8s.canaryWorkload}"}));
    for (said, issued) in
        [(&[("canary fails", output::CANARY_WORKLOAD, "Deployment/web-canary")][..], true), (&[], false)]
    {
        let canary = on_cluster("canary fails", kind::CANARY, json!({}));
        let mut runner = Runner::new(plan_with(vec![canary], vec![delete()])).script(saying(said));
        runner.run();
        assert_eq!(runner.issued.contains(&"delete#1".to_owned()), issued);
    }
    let canary = on_cluster("canary", kind::CANARY, json!({}));
    let mut runner = Runner::new(plan_with(vec![canary], vec![delete()]))
        .script(|_| Some(Outcome::of(TaskResult::Unknown { seen: "nothing".to_owned() })));
    runner.run();
    runner.ask(manifold_model::request::Action::Rollback).run();
    assert_ne!(runner.step_status("delete"), Status::Skipped);
}

#[test]
fn exported_manifests_are_inherited_by_the_same_type_in_the_same_phase() {
    let export = |name: &str, kind| on_cluster(name, kind, json!({"exportManifests": true}));
    let steps = vec![
        export("one", kind::ROLLOUT),
        export("two", kind::ROLLOUT),
        export("other", kind::CANARY),
        on_cluster("inherit", kind::ROLLOUT, json!({"inheritManifests": true})),
        on_cluster("inherit sealed", kind::CANARY, json!({"inheritManifests": true})),
        step("say", "SHELL_SCRIPT", Player::Delegate, json!({"scriptString": "${k8sResources.manifests}"})),
    ];
    let said: &'static [_] = &[
        ("one", output::MANIFESTS, "a: ${app.name}"),
        ("two", output::MANIFESTS, "b: ${app.name}"),
        ("other", output::MANIFESTS, "sealed:output/x"),
    ];
    let mut runner = Runner::new(plan_with(steps, vec![])).script(saying(said));
    runner.run();
    assert_eq!(runner.status(), Status::Success, "{:?}", runner.row().failure);
    let manifests = &kubernetes(&runner.tasks[3]).manifests;
    assert_eq!(manifests.inherited, Some(Rendered::text("b: ${app.name}")), "never rendered again");
    assert!(manifests.files.is_empty() && manifests.spans.is_empty() && manifests.skip_versioning);
    let sealed = Rendered(vec![Piece::Hole(Hole::Secret { name: "output/x".to_owned() })]);
    assert_eq!(kubernetes(&runner.tasks[4]).manifests.inherited.as_ref(), Some(&sealed));
    let Payload::Script(script) = &runner.tasks[5].payload else { panic!() };
    assert_eq!(script.script, sealed);
}

#[test]
fn a_script_that_asks_for_a_kubeconfig_gets_its_cluster() {
    let script =
        |name: &str, text: &str| step(name, "SHELL_SCRIPT", Player::Delegate, json!({"scriptString": text}));
    let steps =
        vec![script("asks", "kubectl --kubeconfig ${HARNESS_KUBE_CONFIG_PATH}"), script("other", "date")];
    let mut plan = plan_with(steps, vec![]);
    plan.infrastructures[0].cloud_provider_properties.insert("delegateSelectors".into(), json!(["near"]));
    plan.workflows[0].post_deployment =
        Some(section("post", vec![script("post", "${HARNESS_KUBE_CONFIG_PATH}")]));
    plan.workflows[0].post_deployment.as_mut().unwrap().steps[0].key = 9;
    let mut runner = Runner::new(plan);
    runner.run();
    let cluster = |task: &Task| match &task.payload {
        Payload::Script(script) => script.cluster.clone(),
        other => panic!("{other:?}"),
    };
    let given = cluster(&runner.tasks[0]).unwrap();
    assert_eq!((given.target.name.as_str(), given.namespace.as_str()), ("hub", "shop-east"));
    assert_eq!(runner.tasks[0].selectors, ["near"]);
    assert_eq!((cluster(&runner.tasks[1]), cluster(&runner.tasks[2])), (None, None));
}

#[test]
fn what_does_not_fit_into_a_message_fails_the_step() {
    let mut plan = plan_with(vec![rollout()], vec![]);
    plan.services[0].variables[0].value = "x".repeat(200_000);
    plan.environments[0].overrides.clear();
    let spans = (0..20).map(|number| format!("${{{}serviceVariable.color}}", " ".repeat(number))).collect();
    plan.services[0].manifests.as_mut().unwrap().files[0].spans = spans;
    let mut runner = Runner::new(plan);
    runner.run();
    assert_eq!((runner.status(), runner.code().as_str()), (Status::Failed, "TASK_TOO_LARGE"));
}
