//! What the chart is rendered with: values that go together, and values that contradict each other.

/// Values that go together.
#[derive(Debug)]
pub(super) struct Case {
    /// What its files are called.
    pub(super) name: &'static str,
    /// Files of values, below deploy/helm.
    pub(super) values: &'static [&'static str],
    /// Values of the command line.
    pub(super) set: &'static [&'static str],
    /// Whether what it renders is kept in deploy/helm/goldens.
    pub(super) golden: bool,
}

/// A case of one values file of a kind of cluster, and whether its outcome is kept.
const fn cluster(
    name: &'static str,
    values: &'static [&'static str],
    set: &'static [&'static str],
    golden: bool,
) -> Case {
    Case {
        name,
        values,
        set,
        golden,
    }
}

const SINGLE: &[&str] = &["topology=single"];
const ROLES: &[&str] = &["topology=roles"];
const LAPTOP: &[&str] = &["tapewatch/values-laptop.yaml"];
const EKS: &[&str] = &["tapewatch/values-eks.yaml"];
const GKE: &[&str] = &["tapewatch/values-gke.yaml"];
const AKS: &[&str] = &["tapewatch/values-aks.yaml"];
const EVERY_OPTION: &[&str] = &["cases/every-option.yaml"];

/// Every values file in both topologies. The clouds differ in a few lines, so one of each pair is kept.
pub(super) const CASES: &[Case] = &[
    cluster("default-single", &[], SINGLE, false),
    cluster("default-roles", &[], ROLES, false),
    cluster("laptop-single", LAPTOP, SINGLE, true),
    cluster("laptop-roles", LAPTOP, ROLES, false),
    cluster("eks-single", EKS, SINGLE, false),
    cluster("eks-roles", EKS, ROLES, true),
    cluster("gke-single", GKE, SINGLE, false),
    cluster("gke-roles", GKE, ROLES, true),
    cluster("aks-single", AKS, SINGLE, false),
    cluster("aks-roles", AKS, ROLES, true),
    cluster("every-option-single", EVERY_OPTION, SINGLE, true),
    cluster("every-option-roles", EVERY_OPTION, ROLES, true),
];

/// Values that contradict each other or mean nothing, and words of the sentence that refuses them.
pub(super) const REFUSALS: &[(&[&str], &str)] = &[
    (
        &["topology=roles", "roles.recent.replicas=2"],
        "roles.recent.replicas is 2, but roles.history.colocated puts the history into the one pod of recent; set",
    ),
    (
        &["topology=roles", "roles.history.replicas=3"],
        "roles.history.replicas is 3, but roles.history.colocated puts",
    ),
    (
        &["topology=roles", "roles.history.colocated=false"],
        "roles.history.persistence.accessMode is ReadWriteOnce; set it to ReadWriteMany",
    ),
    (
        &["config.kdb.users=/etc/users"],
        "config.kdb is set, but its file is in no pod; remove it, and name a Secret with the key users",
    ),
    (
        &["config.kdb.users=/etc/users", "kdb.usersSecret=users"],
        "config.kdb and kdb.usersSecret are both set, but users come from one file; remove config.kdb",
    ),
    (
        &["config.postgres.users=/etc/users"],
        "config.postgres is set, but its file is in no pod; remove it, and name a Secret with the key users",
    ),
    (
        &[
            "config.postgres.users=/etc/users",
            "postgres.usersSecret=users",
        ],
        "config.postgres and postgres.usersSecret are both set, but users come from one file; remove config.postgres",
    ),
    (
        &["tls.requireClientCertificate=true"],
        "tls.secret names no Secret with tls.crt, tls.key and ca.crt; set it",
    ),
    (
        &["gateway.ingress.enabled=true"],
        "gateway.ingress.host is empty; set the host name of the page",
    ),
    (
        &[
            "gateway.ingress.enabled=true",
            "gateway.ingress.host=tapewatch.example",
            "tls.secret=x",
            "tls.requireClientCertificate=true",
        ],
        "an ingress shows no client certificate; disable one of them",
    ),
    (
        &[
            "gateway.ingress.enabled=true",
            "gateway.ingress.host=tapewatch.example",
        ],
        "gateway.ingress.enabled is true, but the network policy lets nobody from outside reach the gateway; say who",
    ),
    (
        &["gateway.service.type=LoadBalancer"],
        "gateway.service.type is LoadBalancer, but the network policy lets nobody from outside reach the gateway",
    ),
    (
        &[
            "networkPolicy.enabled=false",
            "networkPolicy.allow.journal[0].podSelector.matchLabels.feeds=orders",
        ],
        "networkPolicy.enabled is false, but networkPolicy says who may reach what; enable it",
    ),
    (
        &["serviceAccount.create=false"],
        "serviceAccount.name is empty; name the account that is there",
    ),
    (
        &["config.data=/data"],
        "config.data is set, but the chart sets it for each pod; remove it from config",
    ),
    (
        &["config.history.listen=0.0.0.0:1"],
        "config.history.listen is set, but the chart sets it",
    ),
    (
        &["config.peers.journal=x:5011"],
        "config.peers is set, but the chart sets it",
    ),
    (
        &["config.rules.dir=/rules", "rulesConfigMap=x"],
        "rules come from one folder; remove one of them",
    ),
    (
        &["roles.journal.replicas=2"],
        "'/roles/journal': additional properties 'replicas' not allowed",
    ),
    (&["topology=both"], "'/topology': value must be one of"),
    (
        &["roles.engine.shares=0"],
        "'/roles/engine/shares': minimum: got 0, want 1",
    ),
];
