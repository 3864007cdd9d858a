variable "project_id" {
  description = "The project that holds the instance, by its id."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "The region of the instance; the cluster's own, since a lookup is worth less than a millisecond."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "region must be a region such as europe-west1; a zone (europe-west1-b) or multi-region is none."
  }
}

variable "instance_id" {
  description = "The instance's id, unique within the region."
  type        = string
  default     = "contentfactory"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,48}[a-z0-9]$", var.instance_id))
    error_message = "instance_id must be 4 to 50 lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen."
  }
}

variable "network" {
  description = "The cluster's network: projects/PROJECT/global/networks/NAME."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^projects/[^/]+/global/networks/[^/]+$", var.network))
    error_message = "network must be written projects/PROJECT/global/networks/NAME."
  }
}

variable "subnetworks" {
  description = "Subnetworks of that network in that region that may hold the endpoint: projects/PROJECT/regions/REGION/subnetworks/NAME."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subnetworks) > 0 && alltrue([for each in var.subnetworks : can(regex("^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$", each))])
    error_message = "subnetworks must be one or more of projects/PROJECT/regions/REGION/subnetworks/NAME."
  }
}

variable "create_connection_policy" {
  description = "False when the network already has a Memorystore connection policy in this region; there can be only one."
  type        = bool
  default     = true
  nullable    = false
}

variable "engine_version" {
  description = "The Valkey release, as Memorystore names it."
  type        = string
  default     = "VALKEY_8_0"
  nullable    = false

  validation {
    condition     = can(regex("^VALKEY_[0-9]+_[0-9]+$", var.engine_version))
    error_message = "engine_version must be written VALKEY_MAJOR_MINOR, such as VALKEY_8_0."
  }
}

variable "node_type" {
  description = "The machine: SHARED_CORE_NANO (1.4 GB, trials), STANDARD_SMALL (6.5 GB), HIGHMEM_MEDIUM (13 GB) or HIGHMEM_XLARGE (58 GB)."
  type        = string
  default     = "STANDARD_SMALL"
  nullable    = false

  validation {
    condition     = contains(["SHARED_CORE_NANO", "STANDARD_SMALL", "HIGHMEM_MEDIUM", "HIGHMEM_XLARGE"], var.node_type)
    error_message = "node_type must be SHARED_CORE_NANO, STANDARD_SMALL, HIGHMEM_MEDIUM or HIGHMEM_XLARGE."
  }
}

variable "replica_count" {
  description = "Replicas beside the primary, 0 to 5; each costs a node. 0 is correct, only colder after a failure."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.replica_count >= 0 && var.replica_count <= 5 && floor(var.replica_count) == var.replica_count
    error_message = "replica_count must be a whole number from 0 to 5."
  }
}

variable "authorization_mode" {
  description = "IAM_AUTH to ask clients for an IAM token, AUTH_DISABLED to let in whoever reaches the endpoint. Cannot be changed later."
  type        = string
  default     = "IAM_AUTH"
  nullable    = false

  validation {
    condition     = contains(["IAM_AUTH", "AUTH_DISABLED"], var.authorization_mode)
    error_message = "authorization_mode must be IAM_AUTH or AUTH_DISABLED."
  }
}

variable "members" {
  description = "Who may connect, by a name of your own, as IAM writes them (serviceAccount:EMAIL): the service_identity module's members."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "deletion_protection" {
  description = "True to have Google refuse the instance's deletion; false is safe, since it holds no only copy."
  type        = bool
  default     = false
  nullable    = false
}
