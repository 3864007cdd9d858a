variable "project_id" {
  description = "The project of this environment, by its id. One project per environment keeps quotas, bills and mistakes apart."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "The cluster's region; images and Valkey are there."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "region must be a region such as europe-west1; a zone (europe-west1-b) or multi-region is none."
  }
}

variable "firestore_location" {
  description = "Where the documents are: null for the region, or a multi-region (nam5, nam7, eur3), which costs about twice as much. Cannot be changed later."
  type        = string
  default     = null

  validation {
    condition     = var.firestore_location == null || can(regex("^(nam5|nam7|eur3|[a-z]+-[a-z]+[0-9]{1,2})$", var.firestore_location))
    error_message = "firestore_location must be a region such as europe-west1, or nam5, nam7 or eur3, or null for the region."
  }
}

variable "database_name" {
  description = "The database's id; the last part of STORE_URL."
  type        = string
  default     = "contentfactory"
  nullable    = false
}

variable "namespace" {
  description = "The Kubernetes namespace the services run in."
  type        = string
  default     = "contentfactory"
  nullable    = false
}

variable "bind_pods" {
  description = "True once a cluster with Workload Identity exists; before, Google refuses to let its pods be the accounts."
  type        = bool
  default     = false
  nullable    = false
}

variable "workload_identity_pool" {
  description = "The cluster's identity pool when the cluster is in another project: PROJECT.svc.id.goog. Null for the same project."
  type        = string
  default     = null
}

variable "image_readers" {
  description = "Who may pull images, as IAM writes them: the account of the cluster's nodes."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "valkey" {
  description = "Rung 3: the network and subnetworks of a Memorystore for Valkey instance (in full), its machine and replicas; null for none."
  type = object({
    network                  = string
    subnetworks              = list(string)
    node_type                = optional(string, "STANDARD_SMALL")
    replica_count            = optional(number, 1)
    create_connection_policy = optional(bool, true)
  })
  default = null
}
