--[[
stock/reserve: hold units for orders, each order at most once.

KEYS[1]    stock:{SALE:PARTITION}:meta       hash   epoch, version, state, writes
KEYS[2]    stock:{SALE:PARTITION}:units      hash   I<sku> "price total limit", L<sku> left (absent: total), R<sku> reserved,
                                                      V<sku> of what is left, not to be sold before W<sku>
KEYS[3]    stock:{SALE:PARTITION}:due        zset   "order_id units sku buyer" of open reservations, by expiry
KEYS[4]    stock:{SALE:PARTITION}:buyers     hash   "sku buyer" -> units held, for SKUs with a limit
KEYS[5..]  stock:{SALE:PARTITION}:held:SKU   hash   order id -> "STATE units expires_ms buyer", one a SKU of the batch
ARGV[1]    epoch
ARGV[2]    expires_ms: when these reservations lapse, Unix milliseconds
ARGV[3]    now_ms, Unix milliseconds
ARGV[4]    msgpack: a list of {order_id, sku, buyer, units, which of KEYS[5..] (from 1)}   at most 1000

Returns  {writes, answers}   the partition's writes; msgpack: a list of {verdict, units_left, price_fen}, one an order, in order
         verdict: 0 sold out, 1 reserved, 2 duplicate (holds its units already), 3 over the buyer's limit,
                  4 not seeded, 5 released before, 6 the order id was used for other units
Errors   STALE epoch, NOTOPEN state, BADUNITS, TOOMANY   nothing was changed
Cost     O(orders), bounded by 1000: at most three reads and five writes each
]]
local meta, units_key, due, buyers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local epoch, expires, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found = redis.call("HMGET", meta, "epoch", "state", "writes")
if found[1] ~= epoch then return redis.error_reply("STALE " .. (found[1] or "none")) end
if found[2] ~= "open" then return redis.error_reply("NOTOPEN " .. (found[2] or "none")) end
local claims = cmsgpack.unpack(ARGV[4])
if #claims > 1000 then return redis.error_reply("TOOMANY " .. #claims) end
for i = 1, #claims do
  local wanted = claims[i][4]
  if type(wanted) ~= "number" or wanted < 1 or wanted % 1 ~= 0 or wanted > 1000000 then
    return redis.error_reply("BADUNITS " .. tostring(wanted))
  end
end
local verdicts = { R = 2, S = 2, X = 5 }
local answers, wrote = {}, false
for i = 1, #claims do
  local id, sku, buyer, wanted = claims[i][1], claims[i][2], claims[i][3], claims[i][4]
  local held = KEYS[4 + claims[i][5]]
  local kept = redis.call("HGET", held, id)
  local row = redis.call("HMGET", units_key, "L" .. sku, "I" .. sku, "V" .. sku, "W" .. sku)
  local price, total, limit = string.match(row[2] or "", "^(%d+) (%d+) (%d+)$")
  local left = tonumber(row[1] or total or 0)
  local for_sale = left
  if row[4] and now < tonumber(row[4]) then for_sale = left - tonumber(row[3]) end
  local answer
  if kept then
    -- Asked before stock, so that a buyer who retries after winning hears "duplicate", never "sold out".
    local state, had = string.match(kept, "^(%a) (%d+) ")
    if tonumber(had) ~= wanted then
      answer = { 6, for_sale, 0 }
    else
      answer = { verdicts[state], for_sale, tonumber(price or 0) }
    end
  elseif not price then
    answer = { 4, 0, 0 }
  else
    local limited = limit ~= "0"
    local who = limited and (sku .. " " .. buyer)
    if limited and tonumber(redis.call("HGET", buyers, who) or 0) + wanted > tonumber(limit) then
      answer = { 3, for_sale, 0 }
    elseif for_sale < wanted then
      answer = { 0, for_sale, 0 }
    else
      redis.call("HINCRBY", units_key, "R" .. sku, wanted)
      left = left - wanted
      redis.call("HSET", units_key, "L" .. sku, left)
      redis.call("HSET", held, id, "R " .. wanted .. " " .. expires .. " " .. buyer)
      redis.call("ZADD", due, expires, id .. " " .. wanted .. " " .. sku .. " " .. buyer)
      if limited then redis.call("HINCRBY", buyers, who, wanted) end
      answer, wrote = { 1, for_sale - wanted, tonumber(price) }, true
    end
  end
  answers[i] = answer
end
return { wrote and redis.call("HINCRBY", meta, "writes", 1) or tonumber(found[3] or 0), cmsgpack.pack(answers) }
