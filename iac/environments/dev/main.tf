# The environment for trying things: it can be destroyed, keeps no backups and one hour of past versions.

locals {
  apis = [
    "artifactregistry.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
  ]
  valkey_apis = [
    "memorystore.googleapis.com",
    "networkconnectivity.googleapis.com",
  ]
}

resource "google_project_service" "this" {
  for_each = toset(concat(local.apis, var.valkey == null ? [] : local.valkey_apis))

  project = var.project_id
  service = each.value
  # Others in the project may use them too.
  disable_on_destroy = false
}

module "firestore" {
  source = "../../modules/firestore"

  project_id                   = var.project_id
  database_name                = var.database_name
  location                     = coalesce(var.firestore_location, var.region)
  deletion_protection          = false
  point_in_time_recovery       = false
  daily_backup_retention_days  = 0
  weekly_backup_retention_days = 0
  weekly_backup_day            = "SUNDAY"

  depends_on = [google_project_service.this]
}

module "service_identity" {
  source = "../../modules/service_identity"

  project_id             = var.project_id
  database_name          = module.firestore.database_name
  services               = ["cache", "optimizer", "processor", "tracker"]
  namespace              = var.namespace
  account_prefix         = "cf-dev"
  bind_pods              = var.bind_pods
  workload_identity_pool = var.workload_identity_pool

  depends_on = [google_project_service.this]
}

module "artifacts" {
  source = "../../modules/artifacts"

  project_id      = var.project_id
  location        = var.region
  repository_id   = "contentfactory"
  immutable_tags  = false
  keep_count      = 3
  untagged_days   = 3
  tagged_days     = 30
  cleanup_dry_run = false
  readers         = var.image_readers
  kms_key_name    = null

  depends_on = [google_project_service.this]
}

module "valkey" {
  source = "../../modules/valkey"
  count  = var.valkey == null ? 0 : 1

  project_id               = var.project_id
  region                   = var.region
  instance_id              = "contentfactory-dev"
  network                  = var.valkey.network
  subnetworks              = var.valkey.subnetworks
  create_connection_policy = var.valkey.create_connection_policy
  engine_version           = "VALKEY_8_0"
  node_type                = var.valkey.node_type
  replica_count            = var.valkey.replica_count
  authorization_mode       = "IAM_AUTH"
  members                  = module.service_identity.members
  deletion_protection      = false

  depends_on = [google_project_service.this]
}
