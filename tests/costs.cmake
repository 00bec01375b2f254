# What the slow tests cost, so that the machine is kept busy and nobody is kept waiting for it: how many seconds each takes beside others
# on two processors (the longest begin first), and how many halves of a processor it uses meanwhile. ctest is told that there are two
# halves for each (tests/run): who computes takes two, who waits for leases, deadlines or Java takes one, and four of those go on at once.
# What is not named here takes a second or a few; of those unit and simulation tests compute, and the others wait.
set(costs
  # label.name seconds halves
  "broker.chaos 145 1"
  "container.image 75 2"
  "broker.large 105 1"
  "broker.faults 65 1"
  "broker.three_brokers 45 2"
  "broker.coordinators 45 1"
  "container.services 43 1"
  "broker.python_worker 40 1"
  "broker.security 39 1"
  "broker.saga 35 1"
  "broker.outcome 30 1"
  "broker.runs 30 1"
  "broker.logs 25 1"
  "broker.control 20 1"
  "broker.bench 20 1"
  "broker.bus 20 1"
  "broker.export_topic 20 1"
  "broker.kafka 15 1"
  "broker.recovery 15 1"
  "broker.killed_steps 12 1"
  "embedded.screen 48 1"
  "unit.steps 47 1"
  "embedded.killed 40 2"
  "simulation.every_crash 33 2"
  "simulation.random_pipelines 25 2"
  "simulation.random_faults 20 2"
  "embedded.train 15 1"
  "embedded.cli_logs 12 1"
  "embedded.examples 12 1"
  "embedded.upload 12 1"
  "embedded.cli_exists 10 1"
  "embedded.cli_expressions 10 1"
  "unit.shapes 10 2")

# backstep_test_cost(test label.name): by the table.
function(backstep_test_cost test name)
  string(REGEX MATCH "^(broker|container)\\." needs_broker "${name}")
  if(name MATCHES "^(broker\\.large|broker\\.killed_steps|container\\.image)$")
    set(needs_broker "") # they have the release build of broker tests, and no broker
  endif()
  set(seconds 1)
  set(halves 2)
  if(needs_broker)
    set(seconds 10)
  endif()
  if(needs_broker OR name MATCHES "^embedded\\.")
    set(halves 1)
  endif()
  list(FILTER costs INCLUDE REGEX "^${name} ")
  if(costs)
    string(REGEX MATCHALL "[^ ]+" row "${costs}")
    list(GET row 1 seconds)
    list(GET row 2 halves)
  endif()
  set_tests_properties(${test} PROPERTIES COST ${seconds} PROCESSORS ${halves})
  if(needs_broker)
    # Half a gigabyte each, and a processor while it starts: as many at a time as there are processors, where ctest is told of that
    # resource (tests/run).
    set_tests_properties(${test} PROPERTIES RESOURCE_GROUPS "brokers:1")
  endif()
endfunction()
