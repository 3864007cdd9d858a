# Memorystore for Valkey, rung 3 of the ladder: a shared cache tier and wake-ups. Firestore stays the truth,
# so this instance keeps nothing on disk, has no backups and may be lost at any moment.

resource "google_network_connectivity_service_connection_policy" "this" {
  count = var.create_connection_policy ? 1 : 0

  project       = var.project_id
  name          = "${var.instance_id}-memorystore"
  location      = var.region
  service_class = "gcp-memorystore"
  description   = "Lets Memorystore put its endpoint into these subnetworks."
  network       = var.network

  psc_config {
    subnetworks = var.subnetworks
  }
}

resource "google_memorystore_instance" "this" {
  project        = var.project_id
  instance_id    = var.instance_id
  location       = var.region
  mode           = "CLUSTER_DISABLED"
  engine_version = var.engine_version
  node_type      = var.node_type
  shard_count    = 1
  replica_count  = var.replica_count

  authorization_mode      = var.authorization_mode
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  # Full memory drops the keys least recently used; nothing here is the only copy.
  engine_configs = {
    "maxmemory-policy" = "allkeys-lru"
  }

  persistence_config {
    mode = "DISABLED"
  }

  desired_auto_created_endpoints {
    network    = var.network
    project_id = var.project_id
  }

  deletion_protection_enabled = var.deletion_protection

  depends_on = [google_network_connectivity_service_connection_policy.this]
}

resource "google_project_iam_member" "connect" {
  for_each = var.authorization_mode == "IAM_AUTH" ? var.members : {}

  project = var.project_id
  role    = "roles/memorystore.dbConnectionUser"
  member  = each.value

  condition {
    title       = "only-${var.instance_id}"
    description = "Connections to this one instance."
    expression  = "resource.name == \"projects/${var.project_id}/locations/${var.region}/instances/${var.instance_id}\""
  }
}
