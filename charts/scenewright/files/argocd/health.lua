-- Health of SceneJob, DatasetJob and TuningRun for Argo CD (resource.customizations.health.scenewright.io_<Kind>).
-- A job that runs is Progressing, so that sync waves wait for it. With the annotation
-- scenewright.io/healthy-while-running: "true" on the object it is Healthy from the moment at which it is accepted.

local function condition(status, kind)
  for _, each in ipairs(status.conditions or {}) do
    if each.type == kind and each.status == "True" then
      return each
    end
  end
  return nil
end

local function explained(status, kind, otherwise)
  local found = condition(status, kind)
  if found == nil then
    return otherwise
  end
  local words = {}
  for _, word in ipairs({ found.reason, found.message }) do
    if word ~= nil and word ~= "" then
      table.insert(words, word)
    end
  end
  if #words == 0 then
    return otherwise
  end
  return table.concat(words, ": ")
end

local function running(status)
  local words = { status.phase or "Pending" }
  if status.stage ~= nil and status.stage ~= "" then
    table.insert(words, status.stage)
  end
  if status.progress ~= nil and status.progress ~= "" then
    table.insert(words, status.progress)
  end
  return table.concat(words, " ")
end

local function wants_health_while_running()
  local annotations = obj.metadata.annotations or {}
  return annotations["scenewright.io/healthy-while-running"] == "true"
end

-- Whether there is a retry token that the operator has not seen yet; the annotation does not change the generation.
-- Refused objects have no work to retry. Tokens of more than 63 characters are stored as hashes, so they are not compared.
local function asked_again(status)
  local token, annotation = "", (obj.metadata.annotations or {})["scenewright.io/retry"] or ""
  if obj.spec ~= nil and obj.spec.execution ~= nil then
    token = obj.spec.execution.retryToken or ""
  end
  if token ~= "" and annotation ~= "" then
    token = token .. "+"
  end
  token = token .. annotation
  if token == "" or #token > 63 or (status.effective or {}).workHash == nil then
    return false
  end
  for _, seen in ipairs(status.retryTokens or {}) do
    if seen == token then
      return false
    end
  end
  return true
end

local status = obj.status
if status == nil or status.phase == nil then
  return { status = "Progressing", message = "waits for the operator" }
end
if (status.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "the operator has not seen the last change yet" }
end
if asked_again(status) and (status.phase == "Complete" or status.phase == "Failed") then
  return { status = "Progressing", message = "the operator has not begun the retry yet" }
end
if status.phase == "Complete" then
  return { status = "Healthy", message = explained(status, "Complete", running(status)) }
end
if status.phase == "Failed" then
  return { status = "Degraded", message = explained(status, "Failed", running(status)) }
end
if status.phase == "Suspended" then
  return { status = "Suspended", message = explained(status, "Suspended", "suspended by spec.suspend") }
end
if wants_health_while_running() and condition(status, "Accepted") ~= nil then
  return { status = "Healthy", message = running(status) }
end
local waiting = condition(status, "Waiting")
if status.phase == "Waiting" and waiting ~= nil
  and (waiting.reason == "AwaitingSelection" or waiting.reason == "BudgetReached") and not asked_again(status) then
  return { status = "Suspended", message = explained(status, "Waiting", "waits for a person's choice") }
end
if status.phase == "Waiting" then
  return { status = "Progressing", message = explained(status, "Waiting", "waiting") }
end
return { status = "Progressing", message = running(status) }
