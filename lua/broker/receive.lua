--[[
broker/receive: hand the next messages to one consumer of a group and hide them from the others for a while.

First the delayed messages whose time has come join the log. Then messages that were handed out before and not
acknowledged in time come again, with one attempt more; one that had all its attempts goes to the group's dead
letters instead. Then new ones, from the group's place in the log on. An entry without a body was written by somebody
else: it goes to the dead letters at once, so that it holds up nobody.

KEYS[1]  mq:{SALE:TOPIC}:log                    stream   every visible message: key, body
KEYS[2]  mq:{SALE:TOPIC}:delay                  zset     message key by the time it becomes visible
KEYS[3]  mq:{SALE:TOPIC}:delayed                hash     message key -> body
KEYS[4]  mq:{SALE:TOPIC}:group:GROUP:cursor     hash     id: last log entry handed out; read: how many were
KEYS[5]  mq:{SALE:TOPIC}:group:GROUP:flight     zset     log id by the time it may come again
KEYS[6]  mq:{SALE:TOPIC}:group:GROUP:attempts   hash     log id -> attempt, with an "r" once it was given back
KEYS[7]  mq:{SALE:TOPIC}:dead:GROUP             stream   dead letters: body, reason, id, attempt, at
ARGV[1]  now, Unix milliseconds
ARGV[2]  messages wanted, 1 to 32
ARGV[3]  how long they stay hidden, milliseconds
ARGV[4]  attempts a message may have
ARGV[5]  bytes of bodies after which to stop early

Returns  {cursor, next_ms, died, id, attempt, body, id, attempt, body, ...}
         next_ms: when the next message may come without anybody sending one, -1 for never
         died: how many went to the dead letters in this call
Errors   BADCOUNT   nothing was changed
Cost     O(wanted x log in flight): at most 64 delayed, ``wanted`` redelivered or dead and ``wanted`` new messages
]]
local function body_of(entry)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == "body" then return entry[2][i + 1] end
  end
end

local log, delay, delayed, cursor = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local flight, attempts, dead = KEYS[5], KEYS[6], KEYS[7]
local now, wanted, attempts_max, bytes_left = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
if not wanted or wanted < 1 or wanted > 32 then return redis.error_reply("BADCOUNT " .. ARGV[2]) end
local until_ms = tonumber(now) + tonumber(ARGV[3])
local died, out = 0, {}
local strange = "an entry without a body, which saleops did not write"

local due = redis.call("ZRANGEBYSCORE", delay, "-inf", now, "LIMIT", 0, 64)
for _, key in ipairs(due) do
  local body = redis.call("HGET", delayed, key)
  if body then redis.call("XADD", log, "*", "key", key, "body", body) end
  redis.call("HDEL", delayed, key)
  redis.call("ZREM", delay, key)
end

local function deliver(id, attempt, body)
  redis.call("ZADD", flight, until_ms, id)
  redis.call("HSET", attempts, id, attempt)
  out[#out + 1], out[#out + 2], out[#out + 3] = id, attempt, body
  wanted, bytes_left = wanted - 1, bytes_left - #body
end

local function bury(id, attempt, body, reason)
  redis.call("XADD", dead, "*", "body", body, "reason", reason, "id", id, "attempt", attempt, "at", now)
  died = died + 1
end

local again = redis.call("ZRANGEBYSCORE", flight, "-inf", now, "LIMIT", 0, wanted)
for _, id in ipairs(again) do
  if wanted < 1 or bytes_left <= 0 then break end
  local entry = redis.call("XRANGE", log, id, id)[1]
  local attempt = tonumber(string.match(redis.call("HGET", attempts, id) or "0", "^%d+")) + 1
  local body = entry and body_of(entry)
  if body and attempt <= attempts_max then
    deliver(id, attempt, body)
  else
    if body then
      bury(id, attempt - 1, body, "not acknowledged in " .. attempts_max .. " deliveries")
    elseif entry then
      bury(id, attempt - 1, "", strange)
    end
    redis.call("ZREM", flight, id)
    redis.call("HDEL", attempts, id)
  end
end

local last, fresh = redis.call("HGET", cursor, "id") or "0-0", 0
-- One entry a step, so that a log of huge bodies is never loaded further than what is handed out.
while wanted > 0 and bytes_left > 0 do
  local entry = redis.call("XRANGE", log, "(" .. last, "+", "COUNT", 1)[1]
  if not entry then break end
  last, fresh = entry[1], fresh + 1
  local body = body_of(entry)
  if body then
    deliver(last, 1, body)
  else
    bury(last, 0, "", strange)
    wanted = wanted - 1
  end
end
if fresh > 0 then
  redis.call("HSET", cursor, "id", last)
  redis.call("HINCRBY", cursor, "read", fresh)
end

local next_ms = -1
for _, key in ipairs({ flight, delay }) do
  local first = tonumber(redis.call("ZRANGE", key, 0, 0, "WITHSCORES")[2])
  if first and (next_ms < 0 or first < next_ms) then next_ms = first end
end
return { last, next_ms, died, unpack(out) }
